// The popup of the substitute for Google's script: passes the response on, and closes.
const answer = new URL(document.querySelector("meta[name=google-answer]").content);
window.opener?.postMessage(
  { fakeGoogleAnswer: Object.fromEntries(answer.searchParams) },
  answer.origin,
);
window.close();
