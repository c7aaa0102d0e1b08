// The popup of the stand-in for Google's script: hands over what has come, and closes.
const answer = new URL(document.querySelector("meta[name=google-answer]").content);
window.opener?.postMessage(
  { fakeGoogleAnswer: Object.fromEntries(answer.searchParams) },
  answer.origin,
);
window.close();
