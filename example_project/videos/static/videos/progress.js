// Updates the progress of the uploads, without touching the form.

const PAUSE = 2000; // milliseconds

const findList = () => document.querySelector("#videos");

async function update() {
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  // The user has to give consent again: the page redirects there.
  if (response.status === 403) location.reload();
  if (!response.ok || response.redirected) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  findList().replaceWith(page.querySelector("#videos"));
}

async function watch() {
  if (!("underWay" in findList().dataset)) return;
  await update().catch(() => {}); // The network may be available again at the next attempt.
  setTimeout(watch, PAUSE);
}

setTimeout(watch, PAUSE);
