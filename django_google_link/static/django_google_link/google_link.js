/**
 * Links Google accounts from a front end, by the JSON endpoints of django-google-link.
 *
 * One file without dependencies: import it from the site's static files, or copy it into the app.
 * It needs no inline script or style, so any Content-Security-Policy that allows the file will do.
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
 * @typedef {object} Started A link that has begun: the answer of `POST links/`.
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
 * @property {number} expires_in Seconds.
 *
 * @typedef {{ account: Account, missing_scopes: string[] }} Linked
 *
 * @typedef {object} Wanted What is to be linked: at most one of the first three.
 * @property {string} [linkRequest] From a 403 of the site, or from an error.
 * @property {string} [account] The id of an account to link again.
 * @property {boolean} [add] For a further account.
 * @property {string} [redirectUri] Where the client has several.
 *
 * @typedef {object} Way How the user is sent to Google.
 * @property {"page" | "popup"} [way] The whole page (if it is left out), or a popup.
 * @property {"error" | "page"} [ifBlocked] What a blocked popup leads to; an error, if left out.
 * @property {AbortSignal} [signal] Ends the wait for a popup.
 * @property {Started} [started] Goes on with this one, such as `error.content.link`.
 *
 * @typedef {object} Options
 * @property {string} api Where the endpoints are mounted, such as "/google/api/".
 * @property {(why: { refused: boolean }) => HeadersInit | Promise<HeadersInit>} [headers]
 *   Returns what authenticates a request. After a 401 it is called once more, with `refused`, and
 *   may get another token first.
 * @property {RequestCredentials} [credentials] "include" for a session on another origin.
 *
 * @typedef {{ code?: string, state?: string, iss?: string, error?: string }} Returned
 *
 * @typedef {{ state: string, returned: Returned, redirectUri: string }} Answer
 * @typedef {{ state: string, then: "wait" | "close" | "go", url?: string }} Reply
 */

const NAME = "django-google-link";
const FEATURES = "popup,width=560,height=720";
/** How long a page of the app waits for a sign of the one that has opened the popup. */
const NOBODY_ANSWERS = 3000;
/** How long an answer may take that a popup has given before it was cut off, or was closed. */
const LAST_WORDS = 3000;
/** How long a popup waits for the app's page to complete what it has handed over. */
const COMPLETED_BY = 60_000;
const LOOK_EVERY = 100;
/** So many looks have to find a popup on another origin, before one that finds it closed is believed. */
const ENOUGH_LOOKS = 8;
/** Browsers take a longer one for none. */
const LONGEST_TIMEOUT = 2 ** 31 - 1;

/** What went wrong, with a word that stays as it is. */
export class GoogleLinkError extends Error {
  /**
   * @param {string} error The word: of the endpoints, or of this file.
   * @param {string} detail A sentence.
   * @param {number} [status] Of the response; 0 where there is none.
   * @param {Record<string, any>} [content] All of the response.
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
 * Return the header that Django wants with a session: for `headers`, on the site's own origin.
 *
 * @param {string} [cookie] What `CSRF_COOKIE_NAME` says.
 * @returns {Record<string, string>}
 */
export function csrfHeaders(cookie = "csrftoken") {
  const found = document.cookie.split("; ").find((pair) => pair.startsWith(`${cookie}=`));
  return found ? { "X-CSRFToken": decodeURIComponent(found.slice(cookie.length + 1)) } : {};
}

/** The endpoints, for one user. */
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
   * Return what the user has linked.
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
   * Unlink an account, and end its grant at Google.
   *
   * @param {string} id
   * @returns {Promise<void>}
   */
  async unlink(id) {
    await this.#send("DELETE", `accounts/${encodeURIComponent(id)}/`);
  }

  /**
   * Link an account. Call it where the user has just clicked: browsers block other popups.
   *
   * By popup it returns the account when the popup has come back. By the whole page it does not
   * return: the app's page at the redirect URI calls `complete()`.
   *
   * @param {Wanted & Way} [options]
   * @returns {Promise<Linked>}
   * @throws {GoogleLinkError}
   */
  async link({ way = "page", ifBlocked = "error", signal, started, ...wanted } = {}) {
    if (way !== "page" && way !== "popup") throw new TypeError(`way is "page" or "popup", not "${way}".`);
    signal?.throwIfAborted();
    // Before anything is awaited: later it would be no answer to the click.
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
      popup?.close();
      throw error;
    }
  }

  /**
   * Complete what has arrived at this page, which is the redirect URI.
   *
   * What came by the whole page is completed. What came in a popup is handed to the page of the app
   * that has opened it, and the popup closes.
   *
   * @returns {Promise<Linked | null>} Nothing, in a popup.
   * @throws {GoogleLinkError}
   */
  complete() {
    this.#completion ??= this.#complete();
    return this.#completion;
  }

  /**
   * Start a link by hand: for Google's script, whose answer `finish()` takes.
   *
   * @param {Wanted & { mode?: string, origin?: string }} [wanted]
   * @returns {Promise<Started>}
   */
  start({ linkRequest, redirectUri, ...wanted } = {}) {
    const data = { ...wanted, link_request: linkRequest, redirect_uri: redirectUri };
    return this.#send("POST", "links/", data);
  }

  /**
   * Complete a link that was started by hand.
   *
   * @param {string} ticket
   * @param {Returned} returned What came back.
   * @param {string} redirectUri Where: the address of the page, or its origin for Google's script.
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
        if (!next) {
          reply({ state: answer.state, then: "close" });
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
    // Neither the history nor a link on the page may show the code.
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
      throw new GoogleLinkError("no_json", "The site did not answer with JSON.", response.status);
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
    `The user would not come back to ${location.origin}: pass a redirectUri of this origin.`,
  );
}

/**
 * @param {unknown} error
 * @returns {Started | undefined} What to go on with, where Google has to ask once more.
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
  // For this tab alone, and sealed: it is good for nothing without the user's authentication.
  sessionStorage.setItem(NAME, JSON.stringify({ state, ticket }));
  location.assign(String(link.authorization_url));
  return new Promise((_, reject) => {
    addEventListener("pageshow", ({ persisted }) => {
      const detail = "The user came back without completing the link.";
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
    throw new GoogleLinkError("nothing_returned", "This page was opened without a response from Google.");
  }
  const read = (/** @type {string} */ name) => query.get(name) ?? undefined;
  return { state, code: read("code"), iss: read("iss"), error: read("error") };
}

/**
 * Wait for the answer to one link, and say what the popup does next.
 *
 * Two that are open at once are told apart by their state.
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
 * Call back when a popup was closed by hand.
 *
 * A Cross-Origin-Opener-Policy of this page cuts a popup off as soon as it gets to Google, or on a
 * busy machine a moment later: from then on it looks as if it were closed. So it counts only what
 * was seen open on another origin for a while.
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
    // The page that it came back to may have been cut off as well, and speaks yet.
    if (timesElsewhere >= ENOUGH_LOOKS) lastWords = setTimeout(onClosed, LAST_WORDS);
  }, LOOK_EVERY);
  return {
    stop() {
      clearInterval(timer);
      clearTimeout(lastWords);
    },
  };
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
 * In a popup: hand over what came back, and do as the app's page says.
 *
 * It is sent to this very origin alone. Whoever else has opened the popup gets nothing.
 *
 * @param {Answer} answer
 * @returns {Promise<void>} When all is done, and the popup closes.
 */
function handOver(answer) {
  const channel = new BroadcastChannel(NAME);
  const opener = /** @type {Window | null} */ (window.opener);
  const { promise, resolve, reject } = withResolvers();
  const detail = "No page is waiting for this response. Start again.";
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

  // Also when it is late: a phone may have put the app's page to sleep.
  addEventListener("message", obey);
  channel.addEventListener("message", obey);
  // A Cross-Origin-Opener-Policy takes the opener away.
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

/** Promise.withResolvers(), which browsers have since 2024. */
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
