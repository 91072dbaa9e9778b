// Mermaid diagrams, drawn when somebody asks. Mermaid measures what it lays out, so its script runs: in a frame of its own that
// lets no other script in and reaches nothing but it. Only the finished picture leaves that frame.
window.diagrams = (() => {
  const WAIT_MS = 30_000;
  const page = (nonce) => `<!doctype html><meta http-equiv="Content-Security-Policy"
    content="default-src 'none'; script-src 'self' 'nonce-${nonce}'; style-src 'self' 'unsafe-inline'; img-src data:; font-src data:">
    <body><script type="module" nonce="${nonce}">
    import mermaid from "${new URL(window.mermaidScript, document.baseURI)}";
    mermaid.initialize({ startOnLoad: false, securityLevel: "strict", htmlLabels: false, flowchart: { htmlLabels: false } });
    window.picture = async (code) => (await mermaid.render("diagram", code)).svg;
    frameElement.dispatchEvent(new Event("ready"));
    <\/script></body>`;
  let asked = null; // the frame, made for the first diagram
  const frame = () => {
    asked ??= new Promise((resolve, reject) => {
      const made = document.createElement("iframe");
      made.className = "diagrams";
      made.tabIndex = -1;
      made.setAttribute("aria-hidden", "true");
      made.addEventListener("ready", () => resolve(made.contentWindow));
      setTimeout(reject, WAIT_MS);
      const nonce = [...crypto.getRandomValues(new Uint8Array(16))].map((one) => one.toString(16)).join("");
      made.srcdoc = page(nonce);
      document.body.append(made);
    });
    return asked;
  };
  return { picture: async (code) => (await frame()).picture(code) };
})();
