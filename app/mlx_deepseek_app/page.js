// Behaviour of the page that needs no server: theme, settings panel, keys, faithful copying.
(() => {
  const JOINER = /\u2060/g;
  // undoes text.py: the app's own notes and pictures, entities of punctuation, non-breaking indents, joiners
  const decode = (text) =>
    text
      .replace(/<img class="thumb"[^>]*>\s*/g, "")
      .replace(/<(em|span) class="app-note">(.*?)<\/\1>/gs, "$2")
      .replace(/&#(\d+);/g, (_, code) => (code === "160" ? " " : String.fromCharCode(+code)))
      .replace(JOINER, "");

  const root = document.documentElement;
  const stored = (() => { try { return localStorage.getItem("theme"); } catch { return null; } })();
  const system = matchMedia("(prefers-color-scheme: dark)");
  let choice = stored;
  const dark = () => (choice ? choice === "dark" : system.matches);
  const applyTheme = () => {
    document.body.classList.toggle("dark", dark());
    root.style.colorScheme = dark() ? "dark" : "light";
  };
  system.addEventListener("change", applyTheme);

  const writeText = navigator.clipboard?.writeText?.bind(navigator.clipboard);
  if (writeText) navigator.clipboard.writeText = (text) => writeText(decode(text));
  document.addEventListener("copy", (event) => {
    const text = String(getSelection());
    if (JOINER.test(text) || text.includes("\u00a0")) {
      event.clipboardData.setData("text/plain", text.replace(JOINER, "").replace(/\u00a0/g, " "));
      event.preventDefault();
    }
  });

  const $ = (selector) => document.querySelector(selector);
  const isOpen = () => $("#body")?.hasAttribute("data-settings") ?? false;
  const settingsOpen = (open) => {
    // an attribute: the framework rewrites classes
    $("#body")?.toggleAttribute("data-settings", open);
    $("#settings-button")?.setAttribute("aria-expanded", String(open));
    if (open) $("#settings-close")?.focus({ preventScroll: true });
  };

  const name = (selector, label) => {
    document.querySelectorAll(selector).forEach((node) => {
      if (!node.getAttribute("aria-label")) node.setAttribute("aria-label", label);
    });
  };
  const tidy = (node) => {
    if (node.nodeType !== 1) return;
    // pictures in controls, which have names of their own
    for (const icon of node.querySelectorAll("svg:not([aria-label], [aria-hidden])")) icon.setAttribute("aria-hidden", "true");
    for (const area of node.matches?.("textarea") ? [node] : node.querySelectorAll("#chat textarea")) {
      if (area.closest("#chat") && /&#\d+;|class="thumb"/.test(area.value)) {
        area.value = decode(area.value);
        area.dispatchEvent(new Event("input", { bubbles: true }));
        area.setAttribute("aria-label", "Edit your message");
      }
    }
    for (const part of node.querySelectorAll("#chat [aria-label]")) relabel(part);
    // an arrow in a button that does the same: one stop for the keyboard, one name
    for (const arrow of node.querySelectorAll("#chat .arrow button")) Object.assign(arrow, { tabIndex: -1, ariaHidden: "true" });
  };
  const relabel = (part) => {
    const label = part.getAttribute("aria-label");
    if (label && /&#\d+;|\u2060|"app-note"|"thumb"/.test(label)) part.setAttribute("aria-label", decode(label));
  };

  // the chat follows by itself only when it is at its end; a new message always is
  const toEnd = () => {
    for (const wait of [100, 400]) {
      setTimeout(() => {
        const log = $("#chat [role=log]");
        log?.scrollTo({ top: log.scrollHeight });
      }, wait);
    }
  };

  // a card's button: what it means goes through a hidden text box, as the framework wants it
  const act = ({ dataset, parentElement }) => {
    const recipe = parentElement.querySelector("select")?.value ?? "";
    const losing = { delete: `Delete ${dataset.repo} from this disk?`, drop: "Remove what was downloaded so far?" };
    losing.discard = losing.drop;
    if (losing[dataset.act] && !confirm(words.of(losing[dataset.act]))) return;
    const box = $("#models-act textarea, #models-act input");
    box.value = `${dataset.act} ${dataset.repo} ${recipe}`.trim();
    box.dispatchEvent(new Event("input", { bubbles: true }));
    setTimeout(() => $("#models-go").click(), 50);
  };

  // a tab that does not fit is in the menu of tabs; its words there are the page's own
  const toModels = () => {
    const tabs = [...document.querySelectorAll("#tabs [role=tab], #tabs .overflow-dropdown button")];
    tabs.find((tab) => tab.textContent.trim() === words.of("Models"))?.click();
  };
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("a[href='#models']")) {
      event.preventDefault();
      toModels();
    }
    const button = event.target.closest?.("button");
    if (!button) return;
    if (button.closest("#models") && button.dataset.act) act(button);
    if (button.id === "send-button") toEnd();
    if (button.id === "settings-button") settingsOpen(!isOpen());
    if (button.id === "settings-close") { settingsOpen(false); $("#settings-button")?.focus(); }
    if (button.id === "theme-button") {
      choice = dark() ? "light" : "dark";
      try { localStorage.setItem("theme", choice); } catch { /* private window */ }
      applyTheme();
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey && event.target.closest?.("#prompt")) toEnd();
    if (event.key === "Escape") {
      const stop = $("#stop-button");
      if (stop && stop.offsetParent) stop.click();
      else if (isOpen()) $("#settings-close")?.click();
    } else if (event.key === "/" && !event.target.closest?.("input, textarea, [contenteditable]")) {
      event.preventDefault();
      $("#prompt textarea")?.focus();
    }
  });

  const ICONS = "#drawer-button, #theme-button, #settings-button, #attach-button, #send-button, #stop-button";
  const tip = (button) => { if (!button.title) button.title = button.textContent.trim(); };

  const start = () => {
    applyTheme();
    tidy(document.body);
    new MutationObserver((changes) => {
      for (const change of changes) {
        if (change.type === "attributes") { if (change.target.closest("#chat")) relabel(change.target); }
        else change.addedNodes.forEach(tidy);
      }
      name("#prompt textarea", "Message");
      document.querySelectorAll(ICONS).forEach(tip);
    }).observe(document.body, {
      subtree: true, childList: true, attributes: true, attributeFilter: ["aria-label"],
    });
  };
  if (document.body) start(); else addEventListener("DOMContentLoaded", start);
})();
