// The shell: what the column, addresses, panels and menus do before they ask the server.
// State stands in attributes of #shell: the framework rewrites classes.
window.shell = (() => {
  const $ = (selector) => document.querySelector(selector);
  const PHONE = matchMedia("(max-width: 767px)");
  const stored = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
  const store = (name, value) => { try { localStorage.setItem(name, value); } catch { /* private window */ } };

  // -- the column, a drawer on phones ---------------------------------------------------------
  const mark = (button, open) => button?.setAttribute("aria-expanded", String(open));
  const drawer = (open) => {
    $("#shell")?.toggleAttribute("data-drawer", open);
    mark($("#drawer-button"), open);
    if (open) $("#new-button")?.focus({ preventScroll: true });
  };
  const narrow = (yes) => {
    $("#shell")?.toggleAttribute("data-narrow", yes);
    const button = $("#sidebar-button");
    const label = yes ? "Widen the column" : "Narrow the column";
    button?.setAttribute("aria-label", label);
    if (button) button.title = label;
    mark(button, !yes);
    store("sidebar", yes ? "closed" : "open");
  };
  const isSettings = () => $("#shell")?.hasAttribute("data-settings") ?? false;
  // the panel's edge is drawn to and fro, or moved by the arrows
  const NARROW_PX = 280, WIDE_PX = 640, STEP_PX = 24;
  const widen = (px) => {
    const width = Math.round(Math.min(Math.max(px, NARROW_PX), WIDE_PX));
    $("#shell").style.setProperty("--panel", `${width}px`);
    $("#settings-edge").setAttribute("aria-valuenow", String(width));
    store("settings-width", width);
  };
  const edge = () => {
    const panel = $("#settings");
    if ($("#settings-edge")) return;
    const grip = Object.assign(document.createElement("div"), { id: "settings-edge", tabIndex: 0 });
    const told = { role: "separator", "aria-orientation": "vertical", "aria-label": "Width of the settings", "aria-valuemin": NARROW_PX, "aria-valuemax": WIDE_PX };
    for (const [name, value] of Object.entries(told)) grip.setAttribute(name, value);
    $("#shell").append(grip);
    const width = () => panel.getBoundingClientRect().width;
    grip.addEventListener("pointerdown", (event) => { event.preventDefault(); grip.setPointerCapture(event.pointerId); });
    grip.addEventListener("pointermove", (event) => { if (grip.hasPointerCapture(event.pointerId)) widen(panel.getBoundingClientRect().right - event.clientX); });
    grip.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: STEP_PX, ArrowRight: -STEP_PX }[event.key];
      if (step) { event.preventDefault(); widen(width() + step); }
    });
    widen(Number(stored("settings-width")) || width());
  };
  const settings = (open) => {
    $("#shell")?.toggleAttribute("data-settings", open);
    mark($("#settings-button"), open);
    if (open) { edge(); drawer(false); $("#settings-close")?.focus({ preventScroll: true }); }
  };

  // -- addresses: #chat, #chat/ID, #models ----------------------------------------------------
  let current = ""; // the conversation on the page
  let opens = null; // asks the server for one
  const address = () => {
    const [key, id = ""] = location.hash.slice(1).split("/");
    return { key: key || "chat", id };
  };
  const button = (key) => document.getElementById(`page-${key}-button`);
  const follow = () => {
    const { key, id } = address();
    const tab = button(key);
    if (!tab) return;
    if (tab.getAttribute("aria-selected") !== "true") tab.click();
    $("#shell")?.setAttribute("data-page", key);
    document.querySelectorAll("#nav a").forEach((link) => {
      if (link.dataset.page === key) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
    });
    if (key !== "chat" || !opens || id === current) return;
    if (id) opens({ key: id }); else $("#new-button")?.click();
  };
  addEventListener("hashchange", () => { follow(); if (PHONE.matches) drawer(false); });
  // the server shows a conversation, "" for a new one: the address says so
  const opened = (id, open, has) => {
    const first = !opens;
    opens = open;
    current = id;
    const wanted = address();
    if (wanted.key !== "chat") return;
    if (first && wanted.id && wanted.id !== id) {
      if (has(wanted.id)) open({ key: wanted.id }); else history.replaceState(null, "", "#chat");
    } else if (wanted.id !== id) history[first ? "replaceState" : "pushState"](null, "", id ? `#chat/${id}` : "#chat");
  };
  const nav = (element, watch) => {
    const begin = () => {
      if (!$("#shell") || !button("chat")) return requestAnimationFrame(begin);
      if (stored("sidebar") === "closed") narrow(true);
      follow();
    };
    begin();
    watch("value", () => setTimeout(() => {
      const { key } = address();
      if (button(key)) follow(); else location.replace("#chat"); // the page went with its model
    }, 50));
  };

  // -- what is on its way: in the column, on its card, at the top of a phone ----------------------
  let news = "";
  let act = null;
  const mirror = () => {
    const repo = /data-repo="([^"]+)"/.exec(news)?.[1];
    document.querySelectorAll("[data-loads]").forEach((place) => { place.innerHTML = news; });
    document.querySelectorAll(".card").forEach((card) => {
      const place = card.querySelector(".loads");
      const mine = repo && card.dataset.repo === repo ? news : "";
      card.toggleAttribute("data-loading", Boolean(mine));
      if (place && place.dataset.shown !== mine) { place.innerHTML = mine; place.dataset.shown = mine; }
    });
  };
  const hero = (watch) => watch("value", mirror);
  const clear = (element) => { news = ""; element.querySelectorAll(".load").forEach((one) => one.remove()); mirror(); };
  const loads = (element, watch, send) => {
    act = send.act;
    let ends = 0;
    watch("value", () => {
      news = element.querySelector(".load") ? element.querySelector(".load").outerHTML : "";
      mirror();
      clearTimeout(ends);
      const note = element.querySelector(".load");
      if (note && !note.querySelector("progress") && !note.matches(".failed")) ends = setTimeout(() => clear(element), 5000);
    });
    document.addEventListener("click", (event) => {
      const pressed = event.target.closest?.(".load [data-act]");
      if (!pressed) return;
      if (pressed.dataset.act === "close") clear(element);
      else if (pressed.dataset.act !== "drop" || confirm(words.of("Remove what was downloaded so far?"))) act({ act: pressed.dataset.act });
    });
  };

  // -- cards of models --------------------------------------------------------------------------
  const LOSING = { delete: "Delete {name} from this disk?", discard: "Remove what was downloaded so far?" };
  const cards = (element, watch, send) => {
    watch("value", mirror);
    document.addEventListener("click", (event) => {
      const pressed = event.target.closest?.("#models [data-act]");
      if (!pressed || pressed.closest(".load")) return;
      const { act: what, repo } = pressed.dataset;
      if (what === "all") return $("#models-fitting input")?.click();
      if (LOSING[what] && !confirm(words.of(LOSING[what].replace("{name}", repo)))) return;
      if (what === "get") send.get({ repo, recipe: pressed.parentElement.querySelector("select")?.value ?? "" });
      else send.change({ act: what, repo });
    });
  };

  // -- the menu of models -------------------------------------------------------------------------
  const menu = (element, watch, send) => {
    const part = (selector) => element.querySelector(selector);
    const open = (yes) => {
      if (!part(".menu")) return;
      part(".menu").hidden = !yes;
      mark(part(".menu-button"), yes);
      if (yes) { part("input").value = ""; sift(); part("input").focus(); }
    };
    const lines = () => [...element.querySelectorAll("section [data-source]")];
    const sift = () => {
      const typed = part("input").value.trim();
      for (const line of lines()) line.hidden = !line.textContent.toLowerCase().includes(typed.toLowerCase());
      element.querySelectorAll("section").forEach((one) => { one.hidden = !one.querySelector("[data-source]:not([hidden])"); });
      const own = part(".typed");
      own.hidden = !typed || lines().some((line) => line.dataset.source === typed);
      own.dataset.source = typed;
      own.querySelector("b").textContent = typed;
    };
    const choose = (source) => { open(false); part(".menu-button").focus(); if (source) send.choose({ source }); };
    element.addEventListener("input", sift);
    element.addEventListener("click", (event) => {
      const pressed = event.target.closest("button, a");
      if (pressed?.matches(".menu-button")) open(part(".menu").hidden);
      else if (pressed?.matches("[data-source]")) choose(pressed.dataset.source);
      else if (pressed?.matches("a")) open(false);
    });
    element.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      const stops = [part("input"), ...element.querySelectorAll(".menu button:not([hidden], :disabled), .menu a")].filter((one) => one?.offsetParent);
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape" && !part(".menu").hidden) { event.stopPropagation(); open(false); part(".menu-button").focus(); }
      else if (step && !part(".menu").hidden) {
        event.preventDefault();
        stops[(stops.indexOf(document.activeElement) + step + stops.length) % stops.length].focus();
      } else if (event.key === "Enter" && event.target.matches("input")) {
        event.preventDefault();
        const first = lines().find((line) => !line.hidden && !line.disabled);
        choose(part(".typed").hidden || first?.textContent.includes(event.target.value) ? first?.dataset.source : event.target.value.trim());
      }
    });
    document.addEventListener("click", (event) => { if (!element.contains(event.target)) open(false); });
  };

  const suggestions = (element, send) => element.addEventListener("click", (event) => {
    const pressed = event.target.closest("[data-ask]");
    if (pressed) send.ask({ text: pressed.dataset.ask });
  });

  const chips = (element, send) => element.addEventListener("click", (event) => {
    const pressed = event.target.closest("[data-text]");
    if (pressed) send.choose({ text: pressed.dataset.text });
  });

  // what is wrong with a field stands below it (checked.py)
  const wrong = (element, watch) => watch("value", () => {
    const { id } = element.closest("[id$=-wrong]");
    const is = Boolean(element.querySelector("[role=alert]"));
    $(`#${id.slice(0, -"-wrong".length)} :is(textarea, input)`)?.setAttribute("aria-invalid", String(is));
  });

  const strip = (element, watch, send) => {
    element.addEventListener("click", (event) => {
      const pressed = event.target.closest("[data-page]");
      if (pressed) send.turn({ page: Number(pressed.dataset.page) });
    });
    watch("value", () => element.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" }));
  };

  // -- presses and keys -------------------------------------------------------------------------
  document.addEventListener("click", (event) => {
    const pressed = event.target.closest?.("button, a");
    if (!pressed) {
      if (event.target.id === "shell") drawer(false); // the shade beside the drawer
      return;
    }
    if (pressed.id === "sidebar-button") { if (PHONE.matches) drawer(false); else narrow(!$("#shell").hasAttribute("data-narrow")); }
    if (pressed.id === "drawer-button") drawer(!$("#shell").hasAttribute("data-drawer"));
    if (pressed.id === "new-button") {
      current = "";
      if (address().key !== "chat") location.hash = "#chat";
      else if (!opens) history.replaceState(null, "", "#chat"); // pressed before the address was followed
      if (PHONE.matches) drawer(false);
      $("#prompt textarea")?.focus({ preventScroll: true });
    }
    if (pressed.id === "settings-button") settings(!isSettings());
    if (pressed.id === "settings-close") { settings(false); $("#settings-button")?.focus(); }
  });
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.key !== "Escape") return;
    const stop = $("#stop-button");
    if ($("#shell")?.hasAttribute("data-drawer") && PHONE.matches) { drawer(false); $("#drawer-button")?.focus(); }
    else if (stop && stop.offsetParent) stop.click();
    else if (isSettings()) $("#settings-close")?.click();
  });

  return { cards, chips, drawer, hero, loads, menu, nav, opened, strip, suggestions, store, stored, wrong };
})();
