// Pictures and PDFs that are pasted, or dropped on the chat, go to the file field that is in sight.
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
  const onTalk = (event) => event.target.closest?.("#talk") && event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => onTalk(event) && event.preventDefault());
  document.addEventListener("drop", (event) => onTalk(event) && bring(event, event.dataTransfer.files));
})();
