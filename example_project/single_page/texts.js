// What users read after an error. The codes are those of the endpoints and of google_link.js; for
// all other codes, the message of the error is shown.

const TEXTS = {
  popup_blocked: "Your browser has blocked the window. Use “Link in this window”.",
  popup_closed: "The window was closed before Google had responded. Nothing was linked.",
  ticket_expired: "The link was not completed in time. Start again.",
  not_awaited: "No page is waiting for this response from Google. Nothing was linked.",
  nothing_returned: "This page was opened without a response from Google.",
  came_back: "You returned from Google without an answer. Nothing was linked.",
  no_connection: "The site cannot be reached. Try again later.",
};

export function explain(error) {
  return TEXTS[error.error] ?? error.message;
}

export function keepNotice(text) {
  sessionStorage.setItem("notice", text);
}

export function takeNotice() {
  const text = sessionStorage.getItem("notice");
  sessionStorage.removeItem("notice");
  return text;
}
