// A notification when something long ends and nobody is looking; chosen under Settings, kept by look.js.
(() => {
  const $ = (selector) => document.querySelector(selector);
  const LONG_MS = 5000;
  // what is on its way, by what it leaves to be said
  const KINDS = {
    "The answer is there": () => $("#stop-button"),
    "The model is there": () => $("#loads progress"),
    "The work is done": () => $("button[id$=-stop]"),
  };
  const began = {};
  const about = (name) => {
    const said = { "The answer is there": "#conversations [aria-current=page] .title", "The model is there": "#loads .load" }[name];
    return (said ? $(said)?.textContent : document.querySelector("#nav [aria-current]")?.textContent) ?? "";
  };
  const look = () => {
    for (const [name, busy] of Object.entries(KINDS)) {
      if (busy()) { began[name] ??= Date.now(); continue; }
      const long = name in began && Date.now() - began[name] >= LONG_MS;
      delete began[name];
      if (!long || !document.hidden) continue;
      const told = new Notification(words.of(name), { body: about(name).trim(), tag: name });
      told.onclick = () => { focus(); told.close(); };
    }
  };
  const watcher = new MutationObserver(look);
  const follow = (on) => {
    watcher.disconnect();
    if (on) watcher.observe(document.body, { subtree: true, childList: true });
  };
  const allowed = () => window.Notification?.permission === "granted";
  const note = (text) => { $("#notify-note").textContent = text; };
  document.addEventListener("click", async (event) => {
    const wanted = event.target.closest?.("[data-notify]")?.dataset.notify;
    if (!wanted) return;
    note("");
    if (wanted === "on" && !allowed()) await window.Notification?.requestPermission();
    follow(wanted === "on" && allowed());
    if (wanted === "on" && !allowed()) {
      $("[data-notify=off]").click();
      note("The browser does not allow it for this page.");
    }
  });
  const start = () => follow(shell.stored("notify") === "on" && allowed());
  if (document.body) start(); else addEventListener("DOMContentLoaded", start);
})();
