// The list of conversations: menus, folders that fold, what is asked before the server is told.
conversations.list = (element, watch, send) => {
  const BYTES_AT_MOST = 128 << 20; // as in import_export.py
  const LINE = "li, section[data-fold]"; // what has a menu
  const $ = (selector) => document.querySelector(selector);
  const named = (name) => (name.key ? `li[data-id="${CSS.escape(name.key)}"]` : `section[data-fold="${CSS.escape(name.fold)}"]`);
  const nameOf = (line) => (line.matches("li") ? { key: line.dataset.id } : { fold: line.dataset.fold });
  let focus = null; // what had it before the list was drawn again
  let unfolded = null; // whose menu is open

  // -- folders ------------------------------------------------------------------------------
  const folded = () => { try { return JSON.parse(shell.stored("folded") ?? "{}"); } catch { return {}; } };
  const fold = (section, open) => {
    section.querySelector("[data-act=fold]").setAttribute("aria-expanded", String(open));
    section.querySelector("ul").hidden = !open;
  };
  const isOpen = (section) => section.querySelector("[data-act=fold]").getAttribute("aria-expanded") === "true";
  const foldAll = () => {
    if (element.querySelector("nav[data-searched]")) return; // what was found is in sight
    const known = folded();
    for (const section of element.querySelectorAll("section[data-fold]")) {
      const { fold: name } = section.dataset;
      if (name in known) fold(section, !known[name]);
    }
  };

  // -- menus --------------------------------------------------------------------------------
  const button = (className, text) => Object.assign(document.createElement("button"), { type: "button", className, textContent: text });
  const fill = (line, acts) => {
    const [pinned, archived] = ["pinned", "archived"].map((name) => name in line.dataset);
    const lines = line.matches("li") ? [
      ["rename", "Rename"],
      ...(archived ? [] : [["pin", pinned ? "Unpin" : "Pin", pinned ? "" : "1"], ["move", "Move to folder"]]),
      ["copy", "Duplicate"],
      ["archive", archived ? "Take out of the archive" : "Archive", archived ? "" : "1"],
      ["md", "Export Markdown"], ["json", "Export JSON"], ["delete", "Delete"],
    ] : [["rename", "Rename"], ["unfolder", "Remove folder"]];
    acts.replaceChildren(...lines.map(([act, label, value = ""]) => {
      const made = button("", label);
      Object.assign(made.dataset, { act, value });
      made.autofocus = act === "rename"; // the first
      made.setAttribute("aria-label", `${label} ${line.querySelector(".title").textContent}`);
      return made;
    }));
  };
  const close = (acts) => { if (acts?.matches(":popover-open")) acts.hidePopover(); };
  const place = (acts, opener) => {
    const { right, bottom, top } = opener.getBoundingClientRect();
    const below = bottom + acts.offsetHeight + 8 < innerHeight;
    acts.style.left = `${Math.max(8, Math.min(right - 32, innerWidth - acts.offsetWidth - 8))}px`;
    acts.style.top = `${below ? bottom + 2 : Math.max(8, Math.min(top, innerHeight) - acts.offsetHeight - 2)}px`;
  };
  // the browser itself opens and closes what a button names
  element.addEventListener("beforetoggle", ({ target, newState }) => {
    const line = target.closest(LINE);
    const opener = line?.querySelector("[data-act=more]");
    if (!opener) return;
    const open = newState === "open";
    opener.setAttribute("aria-expanded", String(open));
    unfolded = open ? nameOf(line) : null;
    if (!open) return;
    fill(line, target);
    requestAnimationFrame(() => place(target, opener));
  }, true);
  // a text is typed in the place of a button
  const typed = (button, title, label, done) => {
    const input = Object.assign(document.createElement("input"), { value: title, maxLength: 60 });
    input.setAttribute("aria-label", label);
    let ended = false; // replacing it takes the focus from it, which would end it again
    const end = (keep) => {
      if (ended || !input.isConnected) return;
      ended = true;
      input.replaceWith(button);
      button.focus();
      const wanted = input.value.trim();
      if (keep && wanted && wanted !== title) done(wanted);
    };
    input.addEventListener("keydown", (event) => {
      if (event.isComposing || !["Enter", "Escape"].includes(event.key)) return;
      event.stopPropagation();
      event.preventDefault();
      end(event.key === "Enter");
    });
    input.addEventListener("blur", () => end(true));
    button.replaceWith(input);
    input.focus();
    input.select();
  };
  const rename = (line) => {
    const place = line.querySelector("[data-act=open], [data-act=fold]");
    const title = line.querySelector(".title").textContent;
    const act = line.matches("li") ? "rename" : "folder";
    const key = line.dataset.id ?? line.dataset.folder;
    typed(place, title, `New title of ${title}`, (value) => send.arrange({ act, key, value }));
  };
  // the menu's lines make room for the folders that there are
  const move = (line) => {
    const acts = line.querySelector(".acts");
    const key = line.dataset.id;
    const names = [...element.querySelectorAll("section[data-folder]")].map((one) => one.dataset.folder);
    const to = (value) => { close(acts); send.arrange({ act: "move", key, value }); };
    const choice = (className, text, press) => {
      const made = button(className, text);
      made.addEventListener("click", (event) => { event.stopPropagation(); press(made); });
      return made;
    };
    const folders = names.filter((name) => name !== line.dataset.inFolder).map((name) => choice("name", name, () => to(name)));
    if (line.dataset.inFolder) folders.push(choice("out", "Out of the folder", () => to("")));
    folders.push(choice("plus", "New folder", (made) => typed(made, "", "Name of the folder", to)));
    acts.replaceChildren(...folders);
    folders[0].focus();
  };

  element.addEventListener("click", (event) => {
    const pressed = event.target.closest("button[data-act]");
    const line = pressed?.closest(LINE);
    if (!line) return;
    const { act } = pressed.dataset;
    const { id: key = "", folder } = line.dataset;
    focus = { act: ["open", "fold"].includes(act) ? act : "more", ...nameOf(line) };
    if (act === "more") return;
    if (act === "move") return move(line);
    if (act === "delete" && !conversations.sure(pressed, "Delete for good?")) return;
    close(pressed.closest(".acts"));
    if (act === "fold") {
      fold(line, !isOpen(line));
      shell.store("folded", JSON.stringify({ ...folded(), [line.dataset.fold]: !isOpen(line) }));
    } else if (act === "open") location.hash = `#chat/${key}`;
    else if (act === "rename") rename(line);
    else if (act === "unfolder") send.arrange({ act: "folder", key: folder, value: "" });
    else if (["md", "json"].includes(act)) send.take({ key, kind: act });
    else if (act === "copy") send.duplicate({ key });
    else send.arrange({ act, key, value: pressed.dataset.value ?? "" });
  });
  element.addEventListener("keydown", (event) => {
    const acts = event.target.closest(".acts");
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!acts || event.isComposing) return;
    if (event.key === "Escape") {
      event.stopPropagation();
      close(acts);
      acts.closest(LINE).querySelector("[data-act=more]").focus();
    } else if (step && event.target.matches("button")) {
      event.preventDefault();
      const stops = [...acts.querySelectorAll("button")];
      stops[(stops.indexOf(event.target) + step + stops.length) % stops.length].focus();
    }
  });
  // the conversation that is open, as a file; null where there is none
  conversations.exporter = (kind) => {
    const key = element.querySelector("[aria-current=page]")?.closest("li").dataset.id;
    return key ? () => send.take({ key, kind }) : null;
  };
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("#import-button")) return;
    const picker = Object.assign(document.createElement("input"), { type: "file", accept: ".json" });
    picker.addEventListener("change", async () => {
      const [file] = picker.files;
      // a file that is too large is refused by the server too; it need not travel for that
      if (file) send.bring({ text: file.size > BYTES_AT_MOST ? " ".repeat(BYTES_AT_MOST + 1) : await file.text() });
    });
    picker.click();
  });
  // -- the search, which a cross or Esc empties -----------------------------------------------
  const empty = (field) => {
    field.value = "";
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.focus();
  };
  const searching = () => {
    const field = $("#search :is(textarea, input)");
    if (!field) return requestAnimationFrame(searching);
    const cross = button("", "×");
    cross.id = "search-clear";
    for (const name of ["aria-label", "title"]) cross.setAttribute(name, "Clear the search");
    cross.addEventListener("click", () => empty(field));
    field.after(cross);
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.isComposing || !field.value) return;
      event.stopPropagation();
      empty(field);
    });
  };
  searching();

  watch("value", () => {
    const has = (key) => Boolean(element.querySelector(named({ key })));
    shell.opened(element.querySelector("[data-open]")?.dataset.open ?? "", send.open, has);
    foldAll();
    const open = unfolded && element.querySelector(named(unfolded));
    if (open) open.querySelector(".acts").showPopover();
    if (focus && document.activeElement === document.body) {
      const line = element.querySelector(named(focus));
      (line?.querySelector(`[data-act=${focus.act}]`) ?? $("#new-button"))?.focus({ preventScroll: true });
    }
    focus = null;
  });
};

// what went wrong with the list, until somebody has read it
conversations.note = (element, watch) => {
  const show = () => {
    const said = element.querySelector("[role=alert]");
    if (!said) return;
    const cross = Object.assign(document.createElement("button"), { type: "button", textContent: "×", ariaLabel: "Close", title: "Close" });
    cross.addEventListener("click", () => said.remove());
    said.append(cross);
  };
  watch("value", show);
  show();
};
