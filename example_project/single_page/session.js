// The user's session with the site's API, as a JWT, and the endpoints for linking with that JWT.

import { API } from "/config.js";
import { GoogleLink, GoogleLinkError } from "/django_google_link/google_link.js";

// The tab's storage is kept while the user is at Google. To protect the refresh token from injected
// scripts, store it in an HttpOnly cookie instead.
const storage = sessionStorage;
let access = "";

export const session = {
  get user() {
    return storage.getItem("user");
  },
  async logIn(username, password) {
    const tokens = await post("token/", { username, password });
    storage.setItem("user", username);
    storage.setItem("refresh", tokens.refresh);
    access = tokens.access;
  },
  logOut() {
    storage.clear();
    access = "";
  },
};

// An access token is valid for minutes, and a user may be at Google for longer: a 401 gets a new one.
async function headers({ refused }) {
  if (refused || !access) {
    try {
      ({ access } = await post("token/refresh/", { refresh: storage.getItem("refresh") }));
    } catch {
      session.logOut();
      throw new GoogleLinkError("login_required", "You have been logged out: log in again.");
    }
  }
  return { Authorization: `Bearer ${access}` };
}

export const google = new GoogleLink({ api: `${API}/api/google/`, headers });

export async function getAgenda() {
  let response = await fetchAgenda(false);
  if (response.status === 401) response = await fetchAgenda(true);
  return { ok: response.ok, content: await response.json() };
}

async function fetchAgenda(refused) {
  return fetch(`${API}/api/agenda/`, { headers: await headers({ refused }) });
}

async function post(path, data) {
  const response = await fetch(`${API}/api/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(data),
  });
  const content = await response.json();
  if (!response.ok) throw new Error(content.detail);
  return content;
}
