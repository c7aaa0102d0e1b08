// The page that Google comes back to: it is registered there, and named in the site's settings.

import { google } from "/session.js";
import { explain, keepNotice } from "/texts.js";

const progress = document.querySelector("#progress");

try {
  const linked = await google.complete();
  if (linked) {
    // The whole page was away. In a popup there is nothing left to do: it closes.
    keepNotice(`${linked.account.email} is linked.`);
    location.replace("/");
  } else {
    progress.textContent = "You can close this window.";
  }
} catch (error) {
  progress.textContent = explain(error);
  document.querySelector("#way-on").hidden = false;
}
