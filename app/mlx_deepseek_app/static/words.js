// The page in another language: its texts are looked up in a dictionary such as chinese.json and
// replaced where they are shown; what was there is remembered, and is what the server gets back.
// In a text of the dictionary {n}, a letter, stands for a number, {name} for anything, and {words}
// for something that is looked up itself. " · " joins texts that are looked up one by one.
window.words = (() => {
  const LANGUAGES = { en: {}, "zh-CN": window.chinese };
  const ATTRIBUTES = ["title", "aria-label", "placeholder"];
  // what people and models have written, names and code
  const THEIRS = [
    "#chat .message-content", "#queued li span:not(.app-note)", "#chat .thought-group > .content", "#suggestions [data-ask]",
    "#conversations [data-act=open]", "#conversations li input", ".name", ".card h3", ".menu .typed b", ".brand", ".chips [data-text]",
    "#compare [data-testid=markdown]", "#gallery dd", "#gallery .caption-label", "#pictures-text", "#documents-text", ".cm-line", "#inspect .tokens", ".preview rect", ".preview text",
    ".pane textarea", ".file-preview .filename", "pre", "code", "script", "style",
  ].join();
  const OURS = ".app-note"; // what the app says among them, see transcript.py and status.py
  const DROPDOWN = "input[role=combobox]";

  // -- looking up ---------------------------------------------------------------------------
  const SLOT = /\{(\w+)\}/g;
  const shape = ([text, said]) => {
    const names = [...text.matchAll(SLOT)].map(([, name]) => name);
    const escaped = text.replace(/[.*+?^$()|[\]\\]/g, "\\$&");
    const source = escaped.replace(SLOT, (_, name) => (name.length === 1 ? "([\\d.,]+)" : "(.+?)"));
    return { names, said, like: new RegExp(`^${source}$`, "s") };
  };
  const translator = (dictionary) => {
    const shapes = Object.entries(dictionary).filter(([text]) => text.includes("{")).map(shape);
    const fill = ({ names, said }, values) => said.replace(SLOT, (_, name) => {
      const value = values[names.indexOf(name)];
      return name === "words" ? translate(value) : value;
    });
    const one = (text) => {
      if (Object.hasOwn(dictionary, text)) return dictionary[text];
      for (const known of shapes) {
        const found = known.like.exec(text);
        if (found) return fill(known, found.slice(1));
      }
      return text;
    };
    const translate = (text) => {
      const [, before, middle, after] = /^(\s*)(.*?)(\s*)$/s.exec(text);
      const said = middle.split(" · ").map(one).join(" · ");
      return before + said + (/[，：。]$/.test(said) ? "" : after); // these bring their own space
    };
    return translate;
  };
  let translate = (text) => text;

  // -- showing ------------------------------------------------------------------------------
  const kept = new WeakMap(); // of a node: what its text and attributes were, and are shown as
  const show = (node, key, now, set) => {
    const known = kept.get(node);
    const text = now === known?.[key]?.shown ? known[key].text : now;
    const shown = translate(text);
    if (known || shown !== text) kept.set(node, { ...known, [key]: { text, shown } });
    if (shown !== now) set(shown);
  };
  const showText = (node) => show(node, "data", node.data, (text) => { node.data = text; });
  const showAttributes = (element) => {
    for (const name of ATTRIBUTES) {
      const now = element.getAttribute(name);
      if (now) show(element, name, now, (text) => element.setAttribute(name, text));
    }
  };
  // a dropdown shows its value translated; whoever reads it gets what was set
  const { get, set } = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value");
  const ofDropdown = {
    configurable: true,
    get() {
      const now = get.call(this);
      const known = kept.get(this)?.value;
      return known?.shown === now ? known.text : now;
    },
    set(text) {
      set.call(this, text);
      show(this, "value", get.call(this), (shown) => set.call(this, shown));
    },
  };
  const showDropdown = (input) => {
    if (!Object.hasOwn(input, "value")) Object.defineProperty(input, "value", ofDropdown);
    input.value = input.value; // through what stands above
  };
  const showAll = (node) => {
    if (node.nodeType === Node.TEXT_NODE) showText(node);
    if (node.nodeType !== Node.ELEMENT_NODE) return;
    if (node.matches(THEIRS)) return node.querySelectorAll(OURS).forEach(showAll);
    showAttributes(node);
    if (node.matches(DROPDOWN)) showDropdown(node);
    node.childNodes.forEach(showAll);
  };

  // -- what is drawn later ------------------------------------------------------------------
  const isTheirs = (node) => {
    const edge = (node.closest ? node : node.parentElement)?.closest(`${THEIRS}, ${OURS}`);
    return Boolean(edge) && !edge.matches(OURS);
  };
  const renew = (node) => {
    if (isTheirs(node)) node.querySelectorAll?.(OURS).forEach(showAll);
    else showAll(node);
  };
  const watcher = new MutationObserver((changes) => {
    for (const { type, target, addedNodes } of changes) {
      if (type === "childList") addedNodes.forEach(renew);
      else if (isTheirs(target)) continue;
      else if (type === "attributes") showAttributes(target);
      else showText(target);
    }
    watcher.takeRecords(); // these changes are its own
  });
  const watch = () => watcher.observe(document.body, {
    subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ATTRIBUTES,
  });

  // -- the choice ---------------------------------------------------------------------------
  const codes = Object.keys(LANGUAGES);
  const family = (code) => code?.split("-")[0];
  const stored = (() => { try { return localStorage.getItem("language"); } catch { return null; } })();
  let choice = [stored, navigator.language]
    .map((wanted) => codes.find((code) => family(code) === family(wanted))).find(Boolean) ?? "en";
  const root = document.documentElement;
  const name = () => { if (root.lang !== choice) root.lang = choice; };
  new MutationObserver(name).observe(root, { attributeFilter: ["lang"] }); // Gradio names it, too
  const apply = () => {
    name();
    translate = translator(LANGUAGES[choice]);
    watcher.disconnect();
    showAll(document.body);
    if (choice !== "en") watch();
    dispatchEvent(new Event("resize")); // tabs find out anew which of them fit
  };
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("button")?.id !== "language-button") return;
    choice = codes[(codes.indexOf(choice) + 1) % codes.length];
    try { localStorage.setItem("language", choice); } catch { /* private window */ }
    apply();
  });
  // Gradio follows the browser's language; here its words come from the dictionary like all others
  const core = performance.getEntriesByType("resource").find(({ name }) => /\/core-[^/]*\.js$/.test(name));
  if (core) import(core.name).then((gradio) => gradio.changeLocale?.("en"), () => {});
  if (document.body) apply(); else addEventListener("DOMContentLoaded", apply);

  // for other scripts: a text in the language, and what an attribute was before it was translated
  return {
    of: (text) => translate(text),
    was: (element, name) => kept.get(element)?.[name]?.text ?? element.getAttribute(name),
  };
})();
