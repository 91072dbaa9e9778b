// The look that a person has chosen: theme, accent colour, text size. Kept by the browser.
(() => {
  const root = document.documentElement;
  const { store, stored } = shell;
  const THEMES = { system: ["monitor", "Theme of the system"], light: ["sun", "Light theme"], dark: ["moon", "Dark theme"] };
  // each with 4.5 to 1: 600 under white words, 400 on the dark page
  const ACCENTS = {
    blue: null,
    violet: { 100: "#ede9fe", 200: "#ddd6fe", 300: "#c4b5fd", 400: "#a78bfa", 500: "#8b5cf6", 600: "#7c3aed", 700: "#6d28d9" },
    teal: { 100: "#ccfbf1", 200: "#99f6e4", 300: "#5eead4", 400: "#2dd4bf", 500: "#14b8a6", 600: "#0f766e", 700: "#115e59" },
    green: { 100: "#dcfce7", 200: "#bbf7d0", 300: "#86efac", 400: "#4ade80", 500: "#22c55e", 600: "#15803d", 700: "#166534" },
    rose: { 100: "#ffe4e6", 200: "#fecdd3", 300: "#fda4af", 400: "#fb7185", 500: "#f43f5e", 600: "#be123c", 700: "#9f1239" },
  };
  const SIZES = { small: "93.75%", medium: "100%", large: "112.5%" };
  const system = matchMedia("(prefers-color-scheme: dark)");
  const choice = { theme: stored("theme") ?? "system", accent: stored("accent") ?? "blue", size: stored("size") ?? "medium", notify: stored("notify") ?? "off" };
  const apply = () => {
    const dark = choice.theme === "system" ? system.matches : choice.theme === "dark";
    document.body.classList.toggle("dark", dark);
    root.style.colorScheme = dark ? "dark" : "light";
    root.style.fontSize = SIZES[choice.size] ?? "";
    for (const shade of [100, 200, 300, 400, 500, 600, 700]) {
      const colour = ACCENTS[choice.accent]?.[shade];
      if (colour) root.style.setProperty(`--primary-${shade}`, colour); else root.style.removeProperty(`--primary-${shade}`);
    }
  };
  const label = () => {
    const button = document.querySelector("#theme-button");
    const [icon, said] = THEMES[choice.theme] ?? THEMES.system;
    button?.querySelector("[data-icon]")?.setAttribute("data-icon", icon);
    button?.setAttribute("aria-label", said);
    if (button) button.title = said;
    document.querySelectorAll("#app-settings [role=group] button").forEach((one) => {
      const [[name, value]] = Object.entries(one.dataset);
      one.setAttribute("aria-pressed", String(choice[name] === value));
    });
  };
  const choose = (name, value) => { choice[name] = value; store(name, value); apply(); label(); };
  system.addEventListener("change", apply);
  document.addEventListener("click", (event) => {
    const pressed = event.target.closest?.("button");
    if (pressed?.id === "theme-button") {
      const names = Object.keys(THEMES);
      choose("theme", names[(names.indexOf(choice.theme) + 1) % names.length]);
    }
    if (pressed?.closest("#app-settings [role=group]")) Object.entries(pressed.dataset).forEach(([name, value]) => choose(name, value));
  });
  const start = () => {
    apply();
    const wait = () => { if (document.querySelector("#foot button") && document.querySelector("#app-settings button")) label(); else requestAnimationFrame(wait); };
    wait();
  };
  if (document.body) start(); else addEventListener("DOMContentLoaded", start);
})();
