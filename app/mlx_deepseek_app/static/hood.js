// Under the hood: on the heat map of experts, those that each token of the answer chose, one token after the other.
window.hood = (() => {
  const STEP_MS = 500;
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const begin = (element, watch) => {
    const part = (selector) => element.querySelector(selector);
    let at = 0, timer = 0, cells = [], told = "";
    const show = (token) => {
      at = token;
      const rects = part(".heat").querySelectorAll("rect");
      part(".heat").querySelectorAll("rect.now").forEach((one) => one.classList.remove("now"));
      for (const number of cells[at]) rects[number]?.classList.add("now");
      element.querySelectorAll(".tokens span").forEach((one, index) => one.classList.toggle("now", index === at));
      const slider = part("input[type=range]");
      slider.value = at;
      slider.setAttribute("aria-valuetext", part(".tokens .now").textContent);
    };
    const play = (yes) => {
      clearInterval(timer);
      timer = yes ? setInterval(() => { if (!part(".player")) play(false); else if (at + 1 < cells.length) show(at + 1); else play(false); }, STEP_MS) : 0;
      const button = part(".player [data-act=play]");
      button?.querySelector("i").setAttribute("data-icon", yes ? "pause" : "play");
      if (button) button.querySelector("span").textContent = words.of(yes ? "Pause" : "Play");
    };
    element.addEventListener("click", (event) => {
      const token = event.target.closest(".tokens [data-token]");
      if (token) { play(false); show(Number(token.dataset.token)); }
      if (!event.target.closest(".player [data-act=play]")) return;
      if (!timer && at + 1 >= cells.length) show(0);
      play(!timer);
    });
    element.addEventListener("input", (event) => { if (event.target.matches(".player input")) { play(false); show(Number(event.target.value)); } });
    watch("value", () => {
      const now = part(".player")?.dataset.cells ?? "";
      const fresh = now !== told;
      told = now;
      if (!now) return play(false);
      if (fresh) cells = JSON.parse(now);
      show(fresh ? 0 : at); // the sections after it are drawn later, and all of them anew
      play(fresh ? !still.matches : Boolean(timer));
    });
  };
  return { begin };
})();
