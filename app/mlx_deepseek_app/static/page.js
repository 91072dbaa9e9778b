// The chat: its end in sight, its keys, names for pictures and fields.
(() => {
  const $ = (selector) => document.querySelector(selector);

  // Gradio gives each message its direction anew whenever one has changed; to a browser that is a new one, for which it styles all
  // that stands in the message again
  const direction = Object.getOwnPropertyDescriptor(HTMLElement.prototype, "dir");
  Object.defineProperty(HTMLElement.prototype, "dir", {
    ...direction,
    set(value) { if (value !== direction.get.call(this)) direction.set.call(this, value); },
  });

  const tidy = (node) => {
    // pictures in controls, which have names of their own
    for (const icon of node.querySelectorAll("svg:not([aria-label], [aria-hidden])")) icon.setAttribute("aria-hidden", "true");
    // an arrow in a button that does the same: one stop for the keyboard, one name
    for (const arrow of node.querySelectorAll("#chat .arrow button")) Object.assign(arrow, { disabled: true, ariaHidden: "true" });
    // names that say other than what stands there, or of what has no role
    for (const one of node.querySelectorAll(".upload-container[aria-label], .empty[aria-label]:not([role])")) one.removeAttribute("aria-label");
  };

  // the chat follows by itself only while its end is in sight; a new message, and another conversation, always are. It follows
  // what is laid out already: to ask for a height in between has all rows laid out again.
  let atEnd = true, last = 0, followed = null;
  const scroll = () => {
    const log = $("#chat [role=log]");
    if (atEnd) log?.scrollTo({ top: log.scrollHeight });
  };
  const grown = new ResizeObserver(scroll);
  const follow = () => {
    const rows = $("#chat .message-wrap");
    if (rows === followed) return;
    grown.disconnect();
    followed = rows;
    if (rows) grown.observe(rows);
  };
  document.addEventListener("scroll", ({ target }) => {
    if (!target.matches?.("#chat [role=log]")) return;
    const { scrollTop, scrollHeight, clientHeight } = target;
    if (scrollHeight - scrollTop - clientHeight < 100) atEnd = true;
    else if (scrollTop < last) atEnd = false;
    last = scrollTop;
  }, true);
  document.addEventListener("click", (event) => { if (event.target.closest?.("#chat .earlier")) atEnd = false; }, true);
  const toEnd = () => {
    atEnd = true;
    for (const wait of [100, 400]) setTimeout(scroll, wait);
  };
  window.chatToEnd = toEnd;
  document.addEventListener("click", (event) => { if (event.target.closest?.("#send-button")) toEnd(); });
  document.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey && event.target.closest?.("#prompt")) toEnd();
    if (event.key === "/" && !event.target.closest?.("input, textarea, [contenteditable]")) {
      event.preventDefault();
      $("#prompt textarea")?.focus();
    }
  });

  const ICONS = "#import-button, #settings-close, #attach-button, #send-button, #stop-button";
  const NAMES = {
    "#prompt textarea": "Message", "#search :is(input, textarea)": "Search conversations", "#code-before .cm-content": "Code before the gap",
    "#code-filled .cm-content": "The gap", "#code-after .cm-content": "Code after the gap",
  };
  const tip = (button) => { if (!button.title) button.title = button.textContent.trim(); };
  const start = () => {
    new MutationObserver((changes) => {
      for (const { target, addedNodes } of changes) if (target.nodeType === 1 && addedNodes.length) tidy(target);
      for (const [field, name] of Object.entries(NAMES)) {
        const one = $(field);
        if (one && words.was(one, "aria-label") !== name) one.setAttribute("aria-label", name);
      }
      document.querySelectorAll(ICONS).forEach(tip);
      follow();
    }).observe(document.body, { subtree: true, childList: true });
  };
  if (document.body) start(); else addEventListener("DOMContentLoaded", start);
})();
