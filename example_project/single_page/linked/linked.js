// The page at the redirect URI, which is registered at Google and named in the site's settings.

import { google } from "/session.js";
import { explain, keepNotice } from "/texts.js";

const progress = document.querySelector("#progress");

try {
  const linked = await google.complete();
  if (linked) {
    // This was a full-page redirect. A popup closes by itself.
    keepNotice(`${linked.account.email} is linked.`);
    location.replace("/");
  } else {
    progress.textContent = "You can close this window.";
  }
} catch (error) {
  progress.textContent = explain(error);
  document.querySelector("#way-on").hidden = false;
}
