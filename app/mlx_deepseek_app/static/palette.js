// What is done by keys: a palette of pages, conversations and actions, and a list of all keys.
(() => {
  const $ = (selector) => document.querySelector(selector);
  const MAC = /Mac|iPhone|iPad/.test(navigator.platform);
  const KEY = MAC ? "⌘" : "Ctrl";
  const KEYS = [
    ["Open the palette", [KEY, "K"]],
    ["New chat", [KEY, MAC ? "⇧" : "Shift", "O"]],
    ["List of keys", [KEY, "/"]],
    ["Go to the message box", ["/"]],
    ["Send", ["Enter"]],
    ["New line", ["Shift", "Enter"]],
    ["Stop the answer, close what is open", ["Esc"]],
  ];
  if (matchMedia("(display-mode: standalone)").matches) KEYS.splice(2, 0, ["New chat", [KEY, "N"]]);
  const made = (tag, given, ...inside) => {
    const one = Object.assign(document.createElement(tag), given);
    one.append(...inside);
    return one;
  };
  const icon = (name) => { const one = made("i"); one.dataset.icon = name; one.ariaHidden = "true"; return one; };
  const dialog = (className, label) => {
    const box = made("dialog", { className });
    box.setAttribute("aria-label", label);
    box.addEventListener("click", (event) => { if (event.target === box) box.close(); }); // beside it
    box.addEventListener("keydown", (event) => { if (event.key === "Escape") event.stopPropagation(); });
    box.addEventListener("close", () => box.remove());
    return box;
  };
  const show = (box) => { $("dialog.keys")?.close(); document.body.append(box); box.showModal(); };

  // -- what there is to choose --------------------------------------------------------------
  const press = (selector) => () => $(selector)?.click();
  const actions = () => [
    ["New chat", "square-pen", press("#new-button")],
    ["Settings", "sliders-horizontal", press("#settings-button")],
    ["Change the theme", "sun", press("#theme-button")],
    ["Change the language", "languages", press("#language-button")],
    ["Export this chat as Markdown", "file-text", conversations.exporter("md")],
    ["Export this chat as JSON", "download", conversations.exporter("json")],
    ["Import", "import", press("#import-button")],
    ["List of keys", "circle-help", () => list()],
  ].filter(([, , act]) => act);
  const entries = () => [
    ...actions().map(([name, drawn, act]) => ({ group: "Actions", name, drawn, act })),
    ...[...document.querySelectorAll("#nav a")].map((link) => (
      { group: "Pages", name: words.was(link, "title"), drawn: link.querySelector("i").dataset.icon, act: () => link.click() })),
    ...[...document.querySelectorAll("#conversations li")].map((line) => (
      { group: "Conversations", theirs: line.querySelector(".title")?.textContent ?? "", drawn: "file-text", act: () => line.querySelector("[data-act=open]").click() })),
  ];

  // -- the palette --------------------------------------------------------------------------
  const open = () => {
    const all = entries();
    const back = document.activeElement;
    const field = made("input", { type: "text", placeholder: "Pages, conversations, actions" });
    const listed = made("div", { id: "palette-list", role: "listbox" });
    const box = dialog("keys palette", "Palette");
    let shown = [], at = 0, chosen = null;
    for (const [name, value] of Object.entries({ role: "combobox", "aria-expanded": "true", "aria-controls": "palette-list", "aria-autocomplete": "list", autocomplete: "off", spellcheck: "false", "aria-label": "Palette" })) field.setAttribute(name, value);
    listed.setAttribute("aria-label", "Palette");
    const mark = (to) => {
      const lines = [...listed.querySelectorAll("[role=option]")];
      at = lines.length ? (to + lines.length) % lines.length : 0;
      lines.forEach((line, index) => line.setAttribute("aria-selected", String(index === at)));
      field.setAttribute("aria-activedescendant", lines[at]?.id ?? "");
      lines[at]?.scrollIntoView({ block: "nearest" });
    };
    const draw = () => {
      const wanted = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      const said = (one) => one.theirs ?? `${one.name} ${words.of(one.name)}`;
      shown = all.filter((one) => wanted.every((word) => said(one).toLowerCase().includes(word)));
      const parts = [];
      for (const group of ["Actions", "Pages", "Conversations"]) {
        const lines = shown.filter((one) => one.group === group).slice(0, 50);
        if (!lines.length) continue;
        const part = made("div", { role: "group" }, made("h3", { textContent: group, ariaHidden: "true" }));
        part.setAttribute("aria-label", group);
        for (const one of lines) {
          const line = made("div", { role: "option", id: `palette-${all.indexOf(one)}` }, icon(one.drawn),
            made("span", { className: one.theirs === undefined ? "" : "name", textContent: one.theirs ?? one.name }));
          line.addEventListener("click", () => choose(one));
          line.addEventListener("mousemove", () => { if (line.ariaSelected !== "true") mark([...listed.querySelectorAll("[role=option]")].indexOf(line)); });
          part.append(line);
        }
        parts.push(part);
      }
      listed.replaceChildren(...(parts.length ? parts : [made("div", { role: "option", id: "palette-none", textContent: "Nothing found", ariaDisabled: "true" })]));
      shown = ["Actions", "Pages", "Conversations"].flatMap((group) => shown.filter((one) => one.group === group).slice(0, 50));
      mark(0);
    };
    const choose = (one) => { chosen = one; box.close(); };
    field.addEventListener("input", draw);
    field.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) { event.preventDefault(); mark(at + step); }
      if (event.key === "Enter") { event.preventDefault(); if (shown[at]) choose(shown[at]); }
    });
    // what was chosen is done when the page can be reached again
    box.addEventListener("close", () => { if (chosen) chosen.act(); else back?.focus?.({ preventScroll: true }); });
    box.append(field, listed);
    draw();
    show(box);
    field.focus();
  };

  // -- the list of keys ---------------------------------------------------------------------
  const list = () => {
    const box = dialog("keys", "Keys");
    const close = made("button", { type: "button", ariaLabel: "Close", title: "Close" }, icon("x"));
    close.addEventListener("click", () => box.close());
    const lines = KEYS.map(([name, keys]) => made("div", {}, made("dt", { textContent: name }),
      made("dd", {}, ...keys.map((key) => made("kbd", { textContent: key })))));
    box.append(made("header", {}, made("h2", { textContent: "Keys" }), close), made("dl", {}, ...lines));
    show(box);
  };

  document.addEventListener("click", (event) => { if (event.target.closest?.("#keys-button")) list(); });
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.altKey || !(MAC ? event.metaKey : event.ctrlKey)) return;
    const key = event.key.toLowerCase();
    const act = {
      k: () => ($("dialog.palette") ? $("dialog.palette").close() : open()),
      "/": () => ($("dialog.keys:not(.palette)") ? $("dialog.keys").close() : list()),
      n: event.shiftKey ? null : press("#new-button"), // a browser's window keeps this key to itself
      "shift+o": press("#new-button"),
    }[event.shiftKey && key === "o" ? "shift+o" : key];
    if (!act || (event.shiftKey && key === "k")) return;
    event.preventDefault();
    act();
  });
})();
