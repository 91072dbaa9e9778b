// What can be done with what is written: code is copied, wrapped and previewed, long texts unfold, pictures are seen large,
// and files leave the message box again.
window.content = (() => {
  // A preview can do nothing: its scripts do not run, and it reaches no network. What could lead the frame elsewhere is taken out, as
  // a browser opens a connection before it asks the policy; the policy keeps out the rest.
  const POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; media-src data:";
  const LEADING = "script, iframe, frame, object, embed, link, meta, base";
  const preview = (code, title) => {
    const page = new DOMParser().parseFromString(code, "text/html");
    page.querySelectorAll(LEADING).forEach((one) => one.remove());
    for (const one of page.querySelectorAll("*"))
      for (const { name, value } of [...one.attributes]) if (/(^|:)(href|ping|action|formaction)$/i.test(name) && !/^(#|data:image\/)/i.test(value)) one.removeAttribute(name);
    const policy = Object.assign(page.createElement("meta"), { httpEquiv: "Content-Security-Policy", content: POLICY });
    page.head.prepend(policy);
    const frame = Object.assign(document.createElement("iframe"), { title, srcdoc: `<!doctype html>${page.documentElement.outerHTML}` });
    frame.setAttribute("sandbox", "");
    return frame;
  };
  const acts = {
    copy_code_button: (block, button) => {
      navigator.clipboard?.writeText(block.querySelector("pre").textContent);
      button.classList.add("copied");
      setTimeout(() => button.classList.remove("copied"), 1500);
    },
    wrap_code_button: (block, button) => button.setAttribute("aria-pressed", String(block.classList.toggle("wrapped"))),
    preview_code_button: async (block, button) => {
      const shown = block.querySelector("iframe, .app-error");
      button.setAttribute("aria-pressed", String(!shown));
      if (shown) return shown.remove();
      const code = block.querySelector("pre").textContent;
      const drawn = block.querySelector(".code-language").textContent.toLowerCase() === "mermaid";
      button.disabled = true;
      try {
        block.append(preview(drawn ? await diagrams.picture(code) : code, words.of("Preview")));
      } catch {
        const note = Object.assign(document.createElement("p"), { className: "app-error", textContent: words.of("Mermaid cannot draw this.") });
        note.setAttribute("role", "alert");
        block.append(note);
      }
      button.disabled = false;
    },
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.(".code-bar button, .unfold");
    if (!button) return;
    event.stopImmediatePropagation(); // gradio has its own way to copy, which takes the language along
    const act = Object.keys(acts).find((name) => button.classList.contains(name));
    if (act) return acts[act](button.closest(".code_wrap"), button);
    const folded = button.previousElementSibling.classList.toggle("folded");
    button.textContent = words.of(folded ? "Show all" : "Show less");
  }, true);

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-copy]");
    if (!button) return;
    navigator.clipboard?.writeText(button.dataset.copy);
    button.textContent = words.of("Copied");
    setTimeout(() => { button.textContent = words.of("Copy"); }, 1500);
  });

  // a press on a picture shows it large; another one, or Esc, puts it away
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a.enlarge");
    if (!link) return;
    event.preventDefault();
    const { alt } = link.querySelector("img");
    const box = Object.assign(document.createElement("dialog"), { className: "lightbox" });
    box.setAttribute("aria-label", alt);
    box.append(Object.assign(document.createElement("img"), { src: link.href, alt }));
    box.addEventListener("click", () => box.close());
    box.addEventListener("close", () => box.remove());
    document.body.append(box);
    box.showModal();
  });

  // what Lean says of blocks of code, by the number that each got when it was sent
  const asked = [];
  let submit = () => {};
  const checks = (element, watch, send) => {
    submit = send.submit;
    watch("value", () => setTimeout(() => {
      const said = element.querySelector("[data-check]");
      if (said) asked[said.dataset.check]?.replaceChildren(...said.cloneNode(true).childNodes);
    }));
  };
  acts.check_code_button = (block) => {
    const place = block.querySelector(".lean-said") ?? block.appendChild(Object.assign(document.createElement("div"), { className: "lean-said app-note" }));
    place.textContent = words.of("Lean is checking");
    submit({ code: block.querySelector("pre").textContent, number: asked.push(place) - 1 });
  };

  const chips = (element, send) => element.addEventListener("click", (event) => {
    const cross = event.target.closest("[data-remove]");
    if (cross) { send.remove({ index: cross.dataset.remove }); document.querySelector("#prompt textarea")?.focus(); }
  });
  return { chips, checks };
})();
