// Pictures and PDFs that are pasted go to the file field of the page that is open.
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  const page = [...document.querySelectorAll(".see")].find((one) => one.offsetParent);
  const field = page?.querySelector("input[type=file]");
  if (!files.length || !field) return;
  event.preventDefault();
  const carried = new DataTransfer();
  files.forEach((file) => carried.items.add(file));
  field.files = carried.files;
  field.dispatchEvent(new Event("change", { bubbles: true }));
});
