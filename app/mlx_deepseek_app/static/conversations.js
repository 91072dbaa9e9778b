// The tools of messages: what the page does before it asks the server.
window.conversations = (() => {
  const $ = (selector) => document.querySelector(selector);

  // -- buttons that ask again ---------------------------------------------------------------
  const sure = (button, question) => {
    if (button.dataset.sure) return true;
    const label = words.was(button, "aria-label");
    const text = [...button.childNodes];
    Object.assign(button.dataset, { sure: "1" });
    button.replaceChildren(question);
    button.setAttribute("aria-label", `${question} ${label}`);
    const reset = () => {
      delete button.dataset.sure;
      button.replaceChildren(...text);
      button.setAttribute("aria-label", label);
    };
    button.addEventListener("blur", reset, { once: true });
    setTimeout(() => button.isConnected && button.dataset.sure && reset(), 6000);
    button.focus();
    return false;
  };

  // -- tools of messages ---------------------------------------------------------------------
  // stands in the place of the message, which content.css hides meanwhile
  const editor = ({ id, text, user }, send, back) => {
    const box = Object.assign(document.createElement("form"), { className: "message-editor" });
    const area = Object.assign(document.createElement("textarea"), { value: text, rows: 1 });
    area.setAttribute("aria-label", user ? "Edit your message" : "Edit this reply");
    const keys = Object.assign(document.createElement("small"), { textContent: `Enter: ${user ? "send" : "save"} · Shift+Enter: new line · Esc: cancel` });
    const buttons = ["Cancel", user ? "Send" : "Save"].map((word) => Object.assign(document.createElement("button"), { textContent: word }));
    buttons[0].type = "button";
    box.append(area, keys, ...buttons);
    let hidden = []; // marked one by one: a style that asks for neighbours has all rows styled anew with each token
    const hide = (rows) => {
      hidden.forEach((one) => one.removeAttribute("data-edited"));
      rows.forEach((one) => one.setAttribute("data-edited", ""));
      hidden = rows;
    };
    box.end = () => { box.ended = true; box.remove(); hide([]); };
    const end = (value) => {
      box.end();
      back.focus({ preventScroll: true });
      if (!value.trim() || value === text) return;
      if (user) send.ask({ key: id, value }); else send.change({ act: "rewrite", key: id, value });
    };
    const fit = () => { area.style.height = "auto"; area.style.height = `${area.scrollHeight + 2}px`; };
    box.addEventListener("submit", (event) => { event.preventDefault(); end(area.value); });
    buttons[0].addEventListener("click", () => end(""));
    area.addEventListener("input", fit);
    area.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Escape") { event.stopPropagation(); end(""); }
      else if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); end(area.value); }
    });
    box.edits = (message) => message?.id === id && message.text === text;
    box.begin = (bar) => {
      bar.after(box);
      hide([bar, bar.previousElementSibling]);
      fit();
      area.focus();
      box.scrollIntoView({ block: "nearest" });
    };
    return box;
  };
  const toolsOf = ({ id, user, text, time, again, costs = [], version: [at, of] }) => {
    const what = user ? "message" : "reply";
    const tools = Object.assign(document.createElement("span"), { className: "message-tools" });
    const add = (act, text, label, disabled = false) => {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: text, disabled });
      Object.assign(button.dataset, { message: id, act });
      button.setAttribute("aria-label", label);
      button.title = label;
      tools.append(button);
    };
    if (of > 1) {
      add("before", "‹", `Earlier version of this ${what}`, at === 1);
      const count = Object.assign(document.createElement("span"), { textContent: `${at} / ${of}` });
      count.setAttribute("aria-label", `Version ${at} of ${of}`);
      count.setAttribute("role", "img");
      tools.append(count);
      add("after", "›", `Later version of this ${what}`, at === of);
    }
    if (text) add("copy", "Copy", `Copy this ${what}`);
    if (text) add("edit", "Edit", user ? "Edit your message" : "Edit this reply");
    if (again) add("again", "Retry", "Answer again");
    if (user) add("delete", "Delete", "Delete this message and its replies");
    else if (of > 1) add("delete", "Delete", "Delete this version of the reply and what follows it");
    if (text && !user) add("branch", "Branch off", "Branch off here into a new chat");
    if (time) {
      const when = Object.assign(document.createElement("time"), { textContent: time[0], title: time[1] });
      if (user) tools.prepend(when); else tools.append(when);
    }
    if (costs.length) tools.append(Object.assign(document.createElement("small"), { textContent: costs[0], title: costs.join(" · ") }));
    return tools;
  };
  const messages = (props, watch, send) => {
    let shown = [], open = null, current;
    const ROW = "#chat .message-row";
    let stale = new Set(); // rows that have changed since they were drawn; null: any may have
    const draw = () => {
      const only = stale;
      stale = new Set();
      document.querySelectorAll(ROW).forEach((row, index) => {
        if (only && !only.has(row)) return;
        // gradio's names are the whole source of a message
        for (const [role, name] of [["user", "Your message"], ["bot", "Reply"]])
          row.querySelectorAll(`[data-testid=${role}]`).forEach((one) => {
            if (words.was(one, "aria-label") !== name) one.setAttribute("aria-label", name);
            if (one.localName === "div" && !one.hasAttribute("role")) one.setAttribute("role", "group");
          });
        row.querySelectorAll(".thought-group > .title").forEach((title) =>
          title.setAttribute("aria-expanded", String(Boolean(title.parentElement.querySelector(":scope > .content")))));
        const bar = row.nextElementSibling;
        if (!bar?.classList.contains("message-buttons")) return;
        const message = shown[index];
        const fits = message && message.user === row.classList.contains("user-row");
        const state = fits ? JSON.stringify(message) : "";
        const old = bar.querySelector(":scope > .message-tools");
        if ((old?.dataset.state ?? "") === state) return;
        old?.remove();
        if (!fits) return;
        const tools = toolsOf(message);
        tools.dataset.state = state;
        bar.append(tools);
      });
      // the rows were drawn anew under an editor that is open
      if (!open || open.ended || open.isConnected) return;
      const bar = $(`#chat [data-message="${CSS.escape(open.dataset.message)}"]`)?.closest(".message-buttons");
      if (bar) open.begin(bar);
    };
    watch("value", () => {
      const told = JSON.parse(props.value || '{"messages": []}');
      shown = told.messages;
      $("#shell").toggleAttribute("data-begun", shown.length > 0);
      drafts.show(told.conversation ?? "");
      if (told.conversation !== current) chatToEnd();
      current = told.conversation;
      if (open && !shown.some(open.edits)) open.end();
      stale = null;
      draw();
    });
    document.addEventListener("click", (event) => {
      const button = event.target.closest?.(".message-tools button, #chat .earlier");
      if (!button) return;
      const { message: key = "", act = "earlier" } = button.dataset;
      const message = shown.find(({ id }) => id === key);
      if (act === "copy") navigator.clipboard?.writeText(message.text);
      else if (act === "again") send.ask({ key });
      else if (act === "edit") {
        const bar = button.closest(".message-buttons");
        if (bar.nextElementSibling?.matches(".message-editor")) return;
        open?.end();
        open = editor(message, send, button);
        open.dataset.message = key;
        open.begin(bar);
      } else if (act !== "delete" || sure(button, "Delete?")) send.change({ key, act });
    });
    let asked = 0;
    const changed = new MutationObserver((changes) => {
      for (const { target } of changes) {
        const row = target.closest?.(ROW);
        if (row) stale?.add(row); else stale = null;
      }
      cancelAnimationFrame(asked);
      asked = requestAnimationFrame(draw);
    });
    const begin = () => {
      const chat = $("#chat");
      if (chat) changed.observe(chat, { childList: true, subtree: true }); else requestAnimationFrame(begin);
    };
    begin();
  };

  // -- files to save ------------------------------------------------------------------------
  const parcel = (props, watch) => watch("value", () => {
    if (!props.value) return;
    const { name, text } = JSON.parse(props.value);
    const type = name.endsWith(".json") ? "application/json" : "text/markdown";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name.replace(/[\\/:*?"<>|\x00-\x1f\s]+/g, " ");
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  });

  return { messages, parcel, sure };
})();
