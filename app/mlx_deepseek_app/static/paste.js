// Files that are pasted, or dropped on the chat, go to the file field that is in sight.
(() => {
  const bring = (event, files) => {
    const places = [...document.querySelectorAll(".see, #composer")];
    const field = places.find((one) => one.offsetParent)?.querySelector("input[type=file]");
    if (!files?.length || !field) return;
    event.preventDefault();
    const carried = new DataTransfer();
    [...files].forEach((file) => carried.items.add(file));
    field.files = carried.files;
    field.dispatchEvent(new Event("change", { bubbles: true }));
  };
  document.addEventListener("paste", (event) => bring(event, event.clipboardData?.files));
  // while something is dragged over it, the chat says that it takes it (content.css)
  const place = (event) => event.dataTransfer?.types.includes("Files") && event.target.closest?.("#conversation");
  let over = null;
  const mark = (now) => {
    if (now === over) return;
    over?.removeAttribute("data-drop");
    now?.setAttribute("data-drop", words.of("Drop files here"));
    over = now;
  };
  document.addEventListener("dragover", (event) => {
    const now = place(event) || null;
    if (now) event.preventDefault();
    mark(now);
  });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) mark(null); });
  document.addEventListener("drop", (event) => {
    mark(null);
    if (place(event)) bring(event, event.dataTransfer.files);
  });
})();
