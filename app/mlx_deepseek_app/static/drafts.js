// What is written in the message box and not yet sent: kept for each conversation, on this machine.
window.drafts = (() => {
  const box = () => document.querySelector("#prompt textarea");
  let current = ""; // the conversation that is shown; none before its first message
  let leaving = false; // for a new conversation, which the server does not show yet
  let named = false; // the conversation that is shown gets its name from the message just sent
  const key = () => `draft ${current}`;
  const read = () => { try { return localStorage.getItem(key()) ?? ""; } catch { return ""; } };
  const keep = (text) => {
    try { text ? localStorage.setItem(key(), text) : localStorage.removeItem(key()); } catch { /* private window */ }
  };
  const put = (text) => {
    const area = box();
    if (!area || area.value === text) return;
    area.value = text;
    area.dispatchEvent(new Event("input", { bubbles: true }));
  };
  document.addEventListener("input", (event) => { if (event.target === box()) keep(box().value); });
  // what is typed from the press on is the new conversation's, although the page still shows the old one
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("#new-button") || !(current || named)) return;
    named = false;
    show("");
    leaving = true;
  });
  // another conversation is opened before the new one was shown
  addEventListener("hashchange", () => { if (location.hash.startsWith("#chat/")) leaving = false; });
  const show = (conversation) => {
    if (leaving && conversation) return;
    leaving = false;
    if (conversation === current) return;
    const text = named ? box()?.value ?? "" : null;
    if (named) keep("");
    named = false;
    current = conversation;
    if (text === null) put(read()); else keep(text);
  };
  return {
    show,
    sent: () => { named = !current; put(""); keep(""); },
  };
})();
