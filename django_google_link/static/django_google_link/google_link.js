/**
 * Links Google accounts from a front end, with the JSON endpoints of django-google-link.
 *
 * One file without dependencies: import it from the site's static files, or copy it into the app.
 * It uses no inline scripts or styles, so a Content-Security-Policy only has to allow the file.
 */

/**
 * @typedef {{ scope: string, description: string }} GrantedScope
 *
 * @typedef {object} Account
 * @property {string} id
 * @property {string} email
 * @property {string} name
 * @property {string} picture
 * @property {string} label
 * @property {string} client
 * @property {GrantedScope[]} granted_scopes
 * @property {"active" | "needs_reauthorization"} status
 * @property {string} reason
 * @property {boolean} is_default
 * @property {string} linked_at
 * @property {string | null} ends_at
 *
 * @typedef {object} Started A link that was started: the response of `POST links/`.
 * @property {string} ticket
 * @property {string} mode
 * @property {string | null} authorization_url
 * @property {string | null} redirect_uri
 * @property {string} client_id
 * @property {string} scope
 * @property {string | null} state
 * @property {string} login_hint
 * @property {string} prompt
 * @property {string | null} hd
 * @property {boolean} include_granted_scopes
 * @property {number} expires_in In seconds.
 *
 * @typedef {{ account: Account, missing_scopes: string[] }} Linked
 *
 * @typedef {object} Wanted What to link: at most one of the first three.
 * @property {string} [linkRequest] From a 403 of the site, or from an error.
 * @property {string} [account] The id of an account to link again.
 * @property {boolean} [add] Whether to link an additional account.
 * @property {string} [redirectUri] Required if the client has several.
 *
 * @typedef {object} Way How to send the user to Google.
 * @property {"page" | "popup"} [way] In the same window, which is the default, or in a popup.
 * @property {"error" | "page"} [ifBlocked] What to do if the popup is blocked; `error` by default.
 * @property {AbortSignal} [signal] Stops waiting for a popup.
 * @property {Started} [started] A link to continue, such as `error.content.link`.
 *
 * @typedef {object} Options
 * @property {string} api The URL of the endpoints, such as "/google/api/".
 * @property {(why: { refused: boolean }) => HeadersInit | Promise<HeadersInit>} [headers]
 *   Returns the headers that authenticate a request. After a 401 it is called once more, with
 *   `refused`, and may fetch another token.
 * @property {RequestCredentials} [credentials] "include" for a session on another origin.
 *
 * @typedef {{ code?: string, state?: string, iss?: string, error?: string }} Returned
 *
 * @typedef {{ state: string, returned: Returned, redirectUri: string }} Answer
 * @typedef {{ state: string, then: "wait" | "close" | "go", url?: string }} Reply
 */

const NAME = "django-google-link";
const FEATURES = "popup,width=560,height=720";
/** Milliseconds that a popup waits for a reply of the page that opened it. */
const NOBODY_ANSWERS = 3000;
/** Milliseconds to wait for a response after a popup seems to be closed. */
const LAST_WORDS = 3000;
/** Milliseconds that a popup waits for the page that opened it to complete the link. */
const COMPLETED_BY = 60_000;
/** Milliseconds between stopping a popup's navigation and closing it. */
const CLOSE_AFTER = 100;
/** Milliseconds between two checks whether a popup is closed. */
const LOOK_EVERY = 100;
/** How many checks must have found a popup on another origin before it is reported as closed. */
const ENOUGH_LOOKS = 8;
/** Milliseconds. Browsers treat a longer timeout as zero. */
const LONGEST_TIMEOUT = 2 ** 31 - 1;

/** An error with a code, which does not change between versions. */
export class GoogleLinkError extends Error {
  /**
   * @param {string} error The code: of the endpoints, or of this file.
   * @param {string} detail A sentence for the user or the developer.
   * @param {number} [status] The HTTP status; 0 without a response.
   * @param {Record<string, any>} [content] The body of the response.
   */
  constructor(error, detail, status = 0, content = {}) {
    super(detail);
    this.name = "GoogleLinkError";
    this.error = error;
    this.status = status;
    this.content = content;
  }
}

/**
 * Return the CSRF header that Django requires with sessions: for `headers`, on the site's origin.
 *
 * @param {string} [cookie] The value of `CSRF_COOKIE_NAME`.
 * @returns {Record<string, string>}
 */
export function csrfHeaders(cookie = "csrftoken") {
  const found = document.cookie.split("; ").find((pair) => pair.startsWith(`${cookie}=`));
  return found ? { "X-CSRFToken": decodeURIComponent(found.slice(cookie.length + 1)) } : {};
}

/** The endpoints, called for the current user. */
export class GoogleLink {
  /** @type {Promise<Linked | null> | undefined} */
  #completion;

  /** @param {Options} options */
  constructor({ api, headers, credentials = "same-origin" }) {
    this.api = new URL(api.endsWith("/") ? api : `${api}/`, document.baseURI).href;
    this.headers = headers;
    /** @type {RequestCredentials} */
    this.credentials = credentials;
  }

  /**
   * Return the user's linked accounts.
   *
   * @returns {Promise<Account[]>}
   */
  async accounts() {
    return (await this.#send("GET", "accounts/")).accounts;
  }

  /**
   * Label an account, or make it the default.
   *
   * @param {string} id
   * @param {{ label?: string, is_default?: true }} change
   * @returns {Promise<Account>}
   */
  change(id, change) {
    return this.#send("PATCH", `accounts/${encodeURIComponent(id)}/`, change);
  }

  /**
   * Unlink an account, and revoke its grant at Google.
   *
   * @param {string} id
   * @returns {Promise<void>}
   */
  async unlink(id) {
    await this.#send("DELETE", `accounts/${encodeURIComponent(id)}/`);
  }

  /**
   * Link an account. Call it in a click handler: browsers block other popups.
   *
   * With a popup, it resolves when the popup has finished. In the same window, it does not resolve
   * on success: the app's page at the redirect URI calls `complete()`.
   *
   * @param {Wanted & Way} [options]
   * @returns {Promise<Linked>}
   * @throws {GoogleLinkError}
   */
  async link({ way = "page", ifBlocked = "error", signal, started, ...wanted } = {}) {
    if (way !== "page" && way !== "popup") {
      throw new TypeError(`way must be "page" or "popup", not "${way}".`);
    }
    signal?.throwIfAborted();
    // Before the first await: afterwards browsers would not attribute the popup to the click.
    const popup = way === "popup" ? window.open("", "_blank", FEATURES) : null;
    if (way === "popup" && !popup && ifBlocked === "error") {
      throw new GoogleLinkError("popup_blocked", "The browser has blocked the popup.");
    }
    try {
      const link = requireOwnPage(started ?? (await this.start(wanted)));
      signal?.throwIfAborted();
      if (popup?.closed) throw new GoogleLinkError("popup_closed", "The popup was closed.");
      return await (popup ? this.#linkInPopup(popup, link, signal) : leaveFor(link));
    } catch (error) {
      if (popup) closePopup(popup);
      throw error;
    }
  }

  /**
   * Complete the link whose authorization response this page, the redirect URI, has received.
   *
   * If the link was started in the same window, it is completed here. In a popup, the response is
   * passed to the page that opened the popup, which is then closed.
   *
   * @returns {Promise<Linked | null>} `null` in a popup.
   * @throws {GoogleLinkError}
   */
  complete() {
    this.#completion ??= this.#complete();
    return this.#completion;
  }

  /**
   * Start a link for Google's script, whose response is passed to `finish()`.
   *
   * @param {Wanted & { mode?: string, origin?: string }} [wanted]
   * @returns {Promise<Started>}
   */
  start({ linkRequest, redirectUri, ...wanted } = {}) {
    const data = { ...wanted, link_request: linkRequest, redirect_uri: redirectUri };
    return this.#send("POST", "links/", data);
  }

  /**
   * Complete a link that was started with `start()`.
   *
   * @param {string} ticket
   * @param {Returned} returned The authorization response.
   * @param {string} redirectUri The URL of the page, or its origin for Google's script.
   * @returns {Promise<Linked>}
   */
  finish(ticket, { code, state, iss, error }, redirectUri) {
    const data = { ticket, code, state, iss, error, redirect_uri: redirectUri };
    return this.#send("POST", "links/complete/", data);
  }

  /**
   * @param {Window} popup
   * @param {Started} link
   * @param {AbortSignal} [signal]
   * @returns {Promise<Linked>}
   */
  async #linkInPopup(popup, link, signal) {
    popup.location.replace(String(link.authorization_url));
    for (;;) {
      const { answer, reply } = await waitForPopup(popup, link, signal);
      try {
        const linked = await this.finish(link.ticket, answer.returned, answer.redirectUri);
        reply({ state: answer.state, then: "close" });
        return linked;
      } catch (error) {
        const next = findNext(error);
        if (!next || signal?.aborted) {
          reply({ state: answer.state, then: "close" });
          signal?.throwIfAborted();
          throw error;
        }
        link = requireOwnPage(next);
        reply({ state: answer.state, then: "go", url: String(link.authorization_url) });
      }
    }
  }

  /** @returns {Promise<Linked | null>} */
  async #complete() {
    const returned = readReturned();
    const redirectUri = location.origin + location.pathname;
    // Neither the history nor the Referer header may contain the code.
    history.replaceState(history.state, "", location.pathname);
    const ticket = takeTicket(returned.state);
    if (ticket === null) {
      await handOver({ state: returned.state, returned, redirectUri });
      return null;
    }
    try {
      return await this.finish(ticket, returned, redirectUri);
    } catch (error) {
      const next = findNext(error);
      if (!next) throw error;
      return leaveFor(requireOwnPage(next));
    }
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {object} [data]
   * @returns {Promise<any>}
   */
  async #send(method, path, data) {
    let response = await this.#fetch(method, path, data, false);
    if (response.status === 401 && this.headers) response = await this.#fetch(method, path, data, true);
    if (response.status === 204) return null;
    const content = await response.json().catch(() => null);
    if (content === null) {
      throw new GoogleLinkError("no_json", "The site did not respond with JSON.", response.status);
    }
    if (response.ok) return content;
    const { error = "unknown", detail = response.statusText } = content;
    throw new GoogleLinkError(String(error), String(detail), response.status, content);
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {object | undefined} data
   * @param {boolean} refused
   * @returns {Promise<Response>}
   */
  async #fetch(method, path, data, refused) {
    const headers = new Headers(await this.headers?.({ refused }));
    headers.set("Accept", "application/json");
    if (data) headers.set("Content-Type", "application/json");
    const body = data && JSON.stringify(data);
    const { credentials } = this;
    try {
      return await fetch(this.api + path, { method, headers, body, credentials });
    } catch {
      throw new GoogleLinkError("no_connection", "The site cannot be reached from this page.");
    }
  }
}

/**
 * @param {Started} link
 * @returns {Started}
 */
function requireOwnPage(link) {
  const origin = link.redirect_uri && new URL(link.redirect_uri).origin;
  if (link.authorization_url && origin === location.origin) return link;
  throw new GoogleLinkError(
    "redirect_uri_elsewhere",
    `Google would not redirect to ${location.origin}: use a redirectUri of this origin.`,
  );
}

/**
 * @param {unknown} error
 * @returns {Started | undefined} The link to continue, if Google has to ask for consent again.
 */
function findNext(error) {
  const isAsked = error instanceof GoogleLinkError && error.error === "consent_required";
  return isAsked ? error.content.link : undefined;
}

/**
 * @param {Started} link
 * @returns {Promise<never>}
 */
function leaveFor(link) {
  const { state, ticket } = link;
  // For this tab only. The ticket is encrypted, and useless without the user's authentication.
  sessionStorage.setItem(NAME, JSON.stringify({ state, ticket }));
  location.assign(String(link.authorization_url));
  return new Promise((_, reject) => {
    addEventListener("pageshow", ({ persisted }) => {
      const detail = "The user returned without a response.";
      if (persisted) reject(new GoogleLinkError("came_back", detail));
    });
  });
}

/**
 * @param {string} state
 * @returns {string | null}
 */
function takeTicket(state) {
  const kept = JSON.parse(sessionStorage.getItem(NAME) ?? "null");
  if (kept?.state !== state) return null;
  sessionStorage.removeItem(NAME);
  return kept.ticket;
}

/** @returns {Returned & { state: string }} */
function readReturned() {
  const query = new URLSearchParams(location.search);
  const state = query.get("state");
  if (!state) {
    throw new GoogleLinkError("nothing_returned", "This page received no authorization response.");
  }
  const read = (/** @type {string} */ name) => query.get(name) ?? undefined;
  return { state, code: read("code"), iss: read("iss"), error: read("error") };
}

/**
 * Wait for the response to one link in a popup. The popup waits for a reply.
 *
 * Links that are open at the same time are distinguished by their state.
 *
 * @param {Window} popup
 * @param {Started} link
 * @param {AbortSignal} [signal]
 * @returns {Promise<{ answer: Answer, reply: (reply: Reply) => void }>}
 */
function waitForPopup(popup, link, signal) {
  const channel = new BroadcastChannel(NAME);
  const over = new AbortController();
  const { promise, resolve, reject } = withResolvers();
  /** @param {string} word @param {string} detail */
  const fail = (word, detail) => reject(new GoogleLinkError(word, detail));

  /** @param {MessageEvent} event @param {(reply: Reply) => void} reply */
  function take({ origin, data }, reply) {
    if (origin !== location.origin || data?.state !== link.state || !data.returned) return;
    reply({ state: data.state, then: "wait" });
    resolve({ answer: data, reply });
  }

  const options = { signal: over.signal };
  addEventListener(
    "message",
    (event) => {
      const source = /** @type {Window | null} */ (event.source);
      take(event, (reply) => source?.postMessage(reply, location.origin));
    },
    options,
  );
  channel.addEventListener(
    "message",
    (event) => take(event, (reply) => broadcast(reply)),
    options,
  );
  signal?.addEventListener("abort", () => reject(signal.reason), options);
  const expiry = setTimeout(
    () => fail("ticket_expired", "The link was not completed in time."),
    Math.min(link.expires_in * 1000, LONGEST_TIMEOUT),
  );
  const watch = watchPopup(popup, () => fail("popup_closed", "The popup was closed."));
  return promise.finally(() => {
    over.abort();
    channel.close();
    clearTimeout(expiry);
    watch.stop();
  });
}

/**
 * Call a function when the user has closed a popup.
 *
 * A Cross-Origin-Opener-Policy of this page severs the popup when it reaches Google, or a moment
 * later on a busy machine: from then on it seems to be closed. It is therefore reported as closed
 * only if it was seen open on another origin for a while.
 *
 * @param {Window} popup
 * @param {() => void} onClosed
 */
function watchPopup(popup, onClosed) {
  let timesElsewhere = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let lastWords;
  const timer = setInterval(() => {
    if (!popup.closed) {
      if (isElsewhere(popup)) timesElsewhere += 1;
      return;
    }
    clearInterval(timer);
    // If it was severed, the page at the redirect URI may still send the response.
    if (timesElsewhere >= ENOUGH_LOOKS) lastWords = setTimeout(onClosed, LAST_WORDS);
  }, LOOK_EVERY);
  return {
    stop() {
      clearInterval(timer);
      clearTimeout(lastWords);
    },
  };
}

/**
 * Close a popup, even if it is on its way to another site.
 *
 * Chromium ignores close() at the moment when a popup reaches another site. The navigation is
 * therefore stopped, and given time to end, before the popup is closed.
 *
 * @param {Window} popup
 */
function closePopup(popup) {
  try {
    popup.stop();
  } catch {
    popup.close(); // It has reached the other site, whose windows cannot be stopped.
    return;
  }
  setTimeout(() => popup.close(), CLOSE_AFTER);
}

/** @param {Window} popup */
function isElsewhere(popup) {
  try {
    return !popup.location.href;
  } catch {
    return true;
  }
}

/**
 * In a popup: pass the response to the page that opened it, and follow its replies.
 *
 * The response is only sent to this origin, whatever page has opened the popup.
 *
 * @param {Answer} answer
 * @returns {Promise<void>} Resolves when the popup is closed.
 */
function handOver(answer) {
  const channel = new BroadcastChannel(NAME);
  const opener = /** @type {Window | null} */ (window.opener);
  const { promise, resolve, reject } = withResolvers();
  const detail = "No page waits for this response. Start again.";
  const giveUp = () => reject(new GoogleLinkError("not_awaited", detail));
  let patience = setTimeout(giveUp, NOBODY_ANSWERS);

  /** @param {MessageEvent} event */
  function obey({ origin, data }) {
    if (origin !== location.origin || data?.state !== answer.state || !data.then) return;
    clearTimeout(patience);
    if (data.then === "wait") patience = setTimeout(giveUp, COMPLETED_BY);
    if (data.then === "go") location.replace(data.url);
    if (data.then === "close") {
      resolve(undefined);
      window.close();
    }
  }

  // Replies may be late: a phone may have suspended the page.
  addEventListener("message", obey);
  channel.addEventListener("message", obey);
  // With a Cross-Origin-Opener-Policy there is no opener.
  if (opener) opener.postMessage(answer, location.origin);
  else channel.postMessage(answer);
  return promise;
}

/** @param {Reply} reply */
function broadcast(reply) {
  const channel = new BroadcastChannel(NAME);
  channel.postMessage(reply);
  channel.close();
}

/** Promise.withResolvers(), which browsers support since 2024. */
function withResolvers() {
  /** @type {(value: any) => void} */
  let resolve = () => {};
  /** @type {(reason: unknown) => void} */
  let reject = () => {};
  /** @type {Promise<any>} */
  const promise = new Promise((...both) => {
    [resolve, reject] = both;
  });
  return { promise, resolve, reject };
}
