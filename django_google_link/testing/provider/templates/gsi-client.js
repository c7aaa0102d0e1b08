// A substitute for https://accounts.google.com/gsi/client, limited to what Google documents of
// initCodeClient. See
// https://developers.google.com/identity/oauth2/web/reference/js-reference#CodeClientConfig
(() => {
  const google = new URL(document.currentScript.src).origin;

  const DOCUMENTED = {
    client_id: "string",
    scope: "string",
    include_granted_scopes: "boolean",
    redirect_uri: "string",
    callback: "function",
    state: "string",
    enable_granular_consent: "boolean",
    enable_serial_consent: "boolean",
    login_hint: "string",
    hd: "string",
    ux_mode: "string",
    select_account: "boolean",
    error_callback: "function",
  };
  const SENT = ["client_id", "scope", "state", "login_hint", "hd"];

  function check(config) {
    for (const [name, value] of Object.entries(config)) {
      if (!Object.hasOwn(DOCUMENTED, name)) {
        throw new Error(`${name} is not a documented property of CodeClientConfig.`);
      }
      if (value !== undefined && typeof value !== DOCUMENTED[name]) {
        throw new TypeError(`${name} must be a ${DOCUMENTED[name]}, not a ${typeof value}.`);
      }
    }
    if (!config.client_id) throw new Error("Missing required parameter client_id.");
    if (!config.scope) throw new Error("Missing required parameter scope.");
    const mode = config.ux_mode ?? "popup";
    if (mode !== "popup") {
      throw new Error(`Only ux_mode "popup" is supported here, not ${JSON.stringify(mode)}.`);
    }
    if (!config.callback) throw new Error("Missing required parameter callback.");
  }

  function initCodeClient(config) {
    check(config);
    return { requestCode: () => openPopup(config) };
  }

  function openPopup(config) {
    const url = new URL("/o/oauth2/v2/auth", google);
    url.searchParams.set("gsiwebsdk", "3");
    url.searchParams.set("origin", window.location.origin);
    for (const name of SENT) {
      if (config[name]) url.searchParams.set(name, config[name]);
    }
    url.searchParams.set("include_granted_scopes", String(config.include_granted_scopes ?? true));
    if (config.select_account) url.searchParams.set("select_account", "true");

    const popup = window.open(url, "_blank", "popup,width=500,height=600");
    if (!popup) {
      config.error_callback?.({ type: "popup_failed_to_open" });
      return;
    }
    const receive = (event) => {
      if (event.origin !== google || event.source !== popup) return;
      finish();
      config.callback(event.data.fakeGoogleAnswer);
    };
    const watch = setInterval(() => {
      if (!popup.closed) return;
      finish();
      config.error_callback?.({ type: "popup_closed" });
    }, 300);
    function finish() {
      clearInterval(watch);
      window.removeEventListener("message", receive);
    }
    window.addEventListener("message", receive);
  }

  window.google = {
    ...window.google,
    accounts: { ...window.google?.accounts, oauth2: { initCodeClient } },
  };
})();
