// The list of conversations and the tools of messages: what the page does before it asks the server.
window.conversations = (() => {
  const $ = (selector) => document.querySelector(selector);
  const BYTES_AT_MOST = 32 << 20; // as in portable.py
  const NARROW = matchMedia("(max-width: 720px)");

  // -- the drawer ---------------------------------------------------------------------------
  const isOpen = () => ($("#drawer")?.offsetParent ?? null) !== null;
  const setOpen = (open) => {
    $("#body")?.setAttribute("data-drawer", open ? "open" : "closed");
    $("#drawer-button")?.setAttribute("aria-expanded", String(open));
    if (!NARROW.matches) try { localStorage.setItem("drawer", open ? "open" : "closed"); } catch { /* private */ }
  };
  const closeIfNarrow = () => { if (NARROW.matches) setOpen(false); };
  const restore = () => {
    let choice = null;
    try { choice = localStorage.getItem("drawer"); } catch { /* private window */ }
    if (choice === "closed" && !NARROW.matches) $("#body")?.setAttribute("data-drawer", "closed");
    const button = $("#drawer-button");
    button?.setAttribute("aria-controls", "drawer");
    button?.setAttribute("aria-expanded", String(isOpen()));
    $("#search :is(input, textarea)")?.setAttribute("aria-label", "Search conversations");
  };
  NARROW.addEventListener("change", () => {
    $("#body")?.removeAttribute("data-drawer");
    restore();
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button");
    if (button?.id === "drawer-button") {
      setOpen(!isOpen());
      if (isOpen() && NARROW.matches) $("#new-button")?.focus();
    }
    if (button?.id === "new-button") closeIfNarrow();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !NARROW.matches || !isOpen()) return;
    setOpen(false);
    $("#drawer-button")?.focus();
  });

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

  // -- the list -----------------------------------------------------------------------------
  const more = (line) => {
    const acts = line.querySelector(".acts");
    acts.hidden = !acts.hidden;
    line.querySelector("[data-act=more]").setAttribute("aria-expanded", String(!acts.hidden));
    if (!acts.hidden) acts.scrollIntoView({ block: "nearest" });
  };
  const rename = (line, send) => {
    const button = line.querySelector("[data-act=open]");
    const title = button.textContent;
    const input = Object.assign(document.createElement("input"), { value: title, maxLength: 60 });
    input.setAttribute("aria-label", `New title of ${title}`);
    let ended = false; // replacing it takes the focus from it, which would end it again
    const end = (keep) => {
      if (ended || !input.isConnected) return;
      ended = true;
      input.replaceWith(button);
      button.focus();
      const wanted = input.value.trim();
      if (keep && wanted && wanted !== title) send({ act: "rename", key: line.dataset.id, value: wanted });
    };
    input.addEventListener("keydown", (event) => {
      if (event.isComposing || !["Enter", "Escape"].includes(event.key)) return;
      event.stopPropagation();
      event.preventDefault();
      end(event.key === "Enter");
    });
    input.addEventListener("blur", () => end(true));
    button.replaceWith(input);
    input.select();
  };
  const remembered = () => { try { return sessionStorage.getItem("conversation"); } catch { return null; } };
  const remember = (key) => {
    try { key ? sessionStorage.setItem("conversation", key) : sessionStorage.removeItem("conversation"); }
    catch { /* private window */ }
  };

  const list = (element, watch, send) => {
    restore();
    let focus = null; // what had it before the list was drawn again
    let first = true;
    element.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-act]");
      const line = button?.closest("li");
      if (!line) return;
      const { act } = button.dataset;
      const key = line.dataset.id;
      focus = { act: act === "open" ? "open" : "more", key };
      if (act === "more") more(line);
      else if (act === "open") { send.open({ key }); closeIfNarrow(); }
      else if (act === "rename") rename(line, send.arrange);
      else if (act === "pin") send.arrange({ act, key, value: "pinned" in line.dataset ? "" : "1" });
      else if (act === "delete") { if (sure(button, "Delete for good?")) send.arrange({ act, key, value: "" }); }
      else send.take({ key, kind: act });
    });
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
    watch("value", () => {
      const current = element.querySelector("[aria-current]")?.closest("li").dataset.id;
      const last = remembered();
      if (first && !current && last && element.querySelector(`li[data-id="${CSS.escape(last)}"]`)) send.open({ key: last });
      else remember(current);
      first = false;
      if (focus && document.activeElement === document.body) {
        const line = element.querySelector(`li[data-id="${CSS.escape(focus.key)}"]`);
        (line?.querySelector(`[data-act=${focus.act}]`) ?? $("#new-button"))?.focus({ preventScroll: true });
      }
      focus = null;
    });
  };

  // -- versions and deletion of messages ----------------------------------------------------
  const editor = ({ id, text }, send) => {
    const box = Object.assign(document.createElement("form"), { className: "turn-editor" });
    const area = Object.assign(document.createElement("textarea"), { value: text, rows: Math.min(12, text.split("\n").length + 1) });
    area.setAttribute("aria-label", "Edit this reply");
    const buttons = ["Save", "Cancel"].map((word) => Object.assign(document.createElement("button"), { textContent: word }));
    buttons[1].type = "button";
    box.append(area, ...buttons);
    const end = (value) => { if (value.trim() && value !== text) send({ act: "rewrite", key: id, value }); box.remove(); };
    box.addEventListener("submit", (event) => { event.preventDefault(); end(area.value); });
    buttons[1].addEventListener("click", () => end(""));
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { event.stopPropagation(); end(""); }
      else if (event.key === "Enter" && event.ctrlKey) end(area.value);
    });
    return box;
  };
  const toolsOf = ({ id, user, text, version: [at, of] }) => {
    const what = user ? "message" : "reply";
    const tools = Object.assign(document.createElement("span"), { className: "turn-tools" });
    const add = (act, text, label, disabled = false) => {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: text, disabled });
      Object.assign(button.dataset, { turn: id, act });
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
    if (text) add("edit", "Edit", "Edit this reply");
    if (user) add("delete", "Delete", "Delete this message and its replies");
    else if (of > 1) add("delete", "Delete", "Delete this version of the reply and what follows it");
    return tools;
  };
  const turns = (props, watch, send) => {
    let shown = [];
    const draw = () => {
      document.querySelectorAll("#chat .message-row").forEach((row, index) => {
        const bar = row.nextElementSibling;
        if (!bar?.classList.contains("message-buttons")) return;
        const turn = shown[index];
        const fits = turn && turn.user === row.classList.contains("user-row");
        const state = fits ? JSON.stringify(turn) : "";
        const old = bar.querySelector(":scope > .turn-tools");
        if ((old?.dataset.state ?? "") === state) return;
        old?.remove();
        if (!fits) return;
        const tools = toolsOf(turn);
        tools.dataset.state = state;
        bar.append(tools);
      });
    };
    watch("value", () => {
      shown = JSON.parse(props.value || "[]");
      document.querySelectorAll(".turn-editor").forEach((one) => one.remove());
      draw();
    });
    document.addEventListener("click", (event) => {
      const button = event.target.closest?.(".turn-tools button");
      if (!button) return;
      const { turn, act } = button.dataset;
      if (act === "edit") {
        const bar = button.closest(".message-buttons");
        if (bar.nextElementSibling?.matches(".turn-editor")) return;
        bar.after(editor(shown.find(({ id }) => id === turn), send));
        bar.nextElementSibling.firstChild.focus();
        return;
      }
      if (act !== "delete" || sure(button, "Delete?")) send({ key: turn, act });
    });
    let asked = 0;
    new MutationObserver(() => { cancelAnimationFrame(asked); asked = requestAnimationFrame(draw); })
      .observe(document.body, { childList: true, subtree: true });
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

  return { list, turns, parcel };
})();
