// Shows how far the videos have come, and leaves the form beside them as it is.

const PAUSE = 2000; // milliseconds

const findList = () => document.querySelector("#videos");

async function update() {
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  // Their user has to let us again, which is asked where the page leads.
  if (response.status === 403) location.reload();
  if (!response.ok || response.redirected) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  findList().replaceWith(page.querySelector("#videos"));
}

async function watch() {
  if (!("underWay" in findList().dataset)) return;
  await update().catch(() => {}); // The next attempt may find the network again.
  setTimeout(watch, PAUSE);
}

setTimeout(watch, PAUSE);
