// Colours for Lean in a box of text: the same words lie in colour behind the letters, which are transparent.
window.lean = (() => {
  const WORD = (words) => new RegExp(String.raw`(?<![\w.'])(?:${words.trim().split(/\s+/).join("|")})(?![\w'])`);
  const KINDS = {
    comment: /\/-[\s\S]*?(?:-\/|$)|--.*/,
    string: /"(?:\\[\s\S]|[^"\\])*"?/,
    open: WORD("sorry admit axiom"),
    keyword: WORD(`theorem lemma example def abbrev inductive structure class instance where deriving by with fun let have show from
      if then else match do at in only import open namespace section end variable universe set_option mutual private protected noncomputable`),
    tactic: WORD(`intro intros exact apply refine constructor left right cases rcases obtain induction generalizing simp simp_all omega decide
      rfl rw rewrite unfold exists contradiction assumption trivial calc first repeat all_goals norm_num ring linarith nlinarith positivity`),
    sort: WORD("Prop Type Sort Nat Int Bool List Option ℕ ℤ ℚ ℝ ℂ"),
    number: /(?<![\w.'₀-₉])\d[\w.]*/,
  };
  const RULE = new RegExp(Object.entries(KINDS).map(([kind, rule]) => `(?<${kind}>${rule.source})`).join("|"), "g");
  const coloured = (text) => {
    const parts = [];
    let done = 0;
    for (const found of text.matchAll(RULE)) {
      const kind = Object.keys(KINDS).find((name) => found.groups[name] !== undefined);
      parts.push(text.slice(done, found.index), Object.assign(document.createElement("span"), { className: kind, textContent: found[0] }));
      done = found.index + found[0].length;
    }
    return [...parts, text.slice(done), "\n"];
  };
  const VALUE = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value");
  const dress = (selector) => {
    const area = document.querySelector(selector);
    if (!area) return setTimeout(dress, 50, selector); // gradio has not drawn it yet
    if (area.classList.contains("dressed")) return;
    const back = Object.assign(document.createElement("pre"), { className: "lean-colours" });
    back.setAttribute("aria-hidden", "true");
    area.before(back);
    area.classList.add("dressed");
    const follow = () => { back.scrollTop = area.scrollTop; back.scrollLeft = area.scrollLeft; };
    const paint = () => { back.replaceChildren(...coloured(area.value)); follow(); };
    // the page puts examples in without an event
    Object.defineProperty(area, "value", { get: () => VALUE.get.call(area), set: (text) => { VALUE.set.call(area, text); paint(); } });
    area.addEventListener("input", paint);
    area.addEventListener("scroll", follow);
    paint();
  };
  return { dress };
})();
