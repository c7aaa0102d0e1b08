// The app: log in, link accounts, see the agenda.

import { getAgenda, google, session } from "/session.js";
import { explain, takeNotice } from "/texts.js";

const find = (selector, root = document) => root.querySelector(selector);
const view = find("#view");
let waiting = new AbortController();
let underWay = 0;

find("#log-out").addEventListener("click", () => {
  session.logOut();
  tell("");
  showLogin();
});
tell(takeNotice() ?? "");
if (session.user) showHome();
else showLogin();

function show(name) {
  view.replaceChildren(find(`#${name}-view`).content.cloneNode(true));
  find("#session").hidden = !session.user;
  find("#who").textContent = session.user ?? "";
}

function tell(text, ...buttons) {
  const notice = find("#notice");
  const row = Object.assign(document.createElement("div"), { className: "buttons" });
  row.append(...buttons);
  notice.replaceChildren(text, ...(buttons.length ? [row] : []));
  notice.hidden = !text;
  notice.scrollIntoView({ block: "nearest" });
}

function makeButton(text, onClick) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button";
  button.textContent = text;
  button.addEventListener("click", onClick);
  return button;
}

function showLogin() {
  show("login");
  find("#log-in").addEventListener("submit", async (event) => {
    event.preventDefault();
    const { username, password } = event.target.elements;
    try {
      await session.logIn(username.value, password.value);
      tell("");
      showHome();
    } catch (error) {
      tell(error.message);
    }
  });
}

function showHome() {
  show("home");
  find("#link-popup").addEventListener("click", () => link({ way: "popup", add: true }));
  find("#link-page").addEventListener("click", () => link({ way: "page", add: true }));
  find("#cancel").addEventListener("click", () => waiting.abort());
  return refresh();
}

async function refresh() {
  try {
    await Promise.all([showAccounts(), showAgenda()]);
  } catch (error) {
    tell(explain(error));
    if (error.error === "login_required") showLogin();
  }
  // The button that had the focus may be gone.
  if (document.activeElement === document.body) find("#content").focus({ preventScroll: true });
}

// Two links may be under way at once: each gets its own response.
async function link(options) {
  tell("Continue in Google’s window.");
  underWay += 1;
  find("#cancel").hidden = false;
  try {
    const { account, missing_scopes } = await google.link({ ...options, signal: waiting.signal });
    tell(
      missing_scopes.length
        ? `${account.email} is linked, but not all requested permissions were granted.`
        : `${account.email} is linked.`,
    );
  } catch (error) {
    tell(...describeFailure(error));
  }
  underWay -= 1;
  find("#cancel").hidden = underWay === 0;
  await refresh();
}

function describeFailure(error) {
  if (error.name === "AbortError") {
    waiting = new AbortController();
    return ["Nothing was linked."];
  }
  const again = (text, linkRequest) => makeButton(text, () => link({ way: "popup", linkRequest }));
  const { link_request, add_link_request, chosen, expected } = error.content ?? {};
  if (error.error === "other_account") {
    return [
      `You chose ${chosen}, but ${expected} was requested.`,
      again(`Choose ${expected}`, link_request),
      again(`Link ${chosen} as well`, add_link_request),
    ];
  }
  return [explain(error), ...(link_request ? [again("Try again", link_request)] : [])];
}

async function showAccounts() {
  const accounts = await google.accounts();
  find("#accounts").replaceChildren(...accounts.map(renderAccount));
  find("#accounts").hidden = !accounts.length;
  find("#no-accounts").hidden = accounts.length > 0;
}

function renderAccount(account) {
  const item = find("#account-view").content.cloneNode(true);
  const name = account.label || account.email;
  find(".account-name", item).textContent = name;
  find(".account-email", item).textContent = account.label ? account.email : "";
  find(".badge", item).hidden = !account.is_default;
  find(".notice", item).hidden = account.status === "active";
  for (const { description } of account.granted_scopes) {
    const scope = document.createElement("li");
    scope.textContent = description;
    find(".granted", item).append(scope);
  }
  const on = (selector, action) => {
    const button = find(selector, item);
    button.setAttribute("aria-label", `${button.textContent} ${name}`);
    button.addEventListener("click", action);
    return button;
  };
  on(".relink", () => link({ way: "popup", account: account.id }));
  on(".make-default", () => change(account, { is_default: true })).hidden = account.is_default;
  on(".change-label", async () => {
    find("#label").value = account.label;
    if (await ask("#label-dialog")) await change(account, { label: find("#label").value });
  });
  on(".unlink", async () => {
    const address = account.label ? ` (${account.email})` : "";
    find("#unlink-heading").textContent = `Unlink ${name}${address}?`;
    if (await ask("#unlink-dialog")) await unlink(account);
  });
  return item;
}

function ask(selector) {
  const dialog = find(selector);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

async function change(account, data) {
  try {
    await google.change(account.id, data);
    tell("Saved.");
  } catch (error) {
    tell(explain(error));
  }
  await refresh();
}

async function unlink(account) {
  try {
    await google.unlink(account.id);
    tell(`${account.email} is no longer linked.`);
  } catch (error) {
    tell(explain(error));
  }
  await refresh();
}

async function showAgenda() {
  const { ok, content } = await getAgenda();
  const agenda = find("#agenda");
  if (ok) {
    const list = document.createElement("ul");
    list.className = "card events";
    list.append(...content.events.map(renderEvent));
    agenda.replaceChildren(list);
    return;
  }
  const text = document.createElement("p");
  const { link_request } = content;
  text.textContent = link_request
    ? "The agenda needs your permission to see your Google Calendar."
    : content.detail;
  agenda.replaceChildren(text);
  if (link_request) {
    const ask = () => link({ way: "popup", linkRequest: link_request });
    agenda.append(makeButton("Allow access at Google", ask));
  }
}

function renderEvent({ summary, location, day, time }) {
  const item = document.createElement("li");
  const when = Object.assign(document.createElement("p"), { className: "time" });
  when.textContent = time ? `${day}, ${time}` : day;
  const what = document.createElement("div");
  what.append(Object.assign(document.createElement("p"), { className: "summary", textContent: summary }));
  what.append(Object.assign(document.createElement("p"), { className: "location", textContent: location }));
  item.append(when, what);
  return item;
}
