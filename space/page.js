// What the page does by itself in the browser: it copies, announces and listens for Escape. Nothing is fetched.
() => {
  const said = document.getElementById("fn-said");
  const announce = (words) => { said.textContent = words; };

  // A screen reader hears a status when its state changes, never each token of an answer.
  const heard = new WeakMap();
  const listen = (line) => new MutationObserver(() => {
    const status = line.querySelector(".fn-status");
    const state = status ? status.className : "";
    if (state !== heard.get(line) && line.offsetParent) announce(status ? status.textContent : "");
    heard.set(line, state);
  }).observe(line, { childList: true, subtree: true, attributes: true, characterData: true });
  document.querySelectorAll(".fn-line").forEach(listen);

  for (const [id, name] of [["fn-conversation", "Conversation"]]) {
    const region = document.getElementById(id);
    region?.setAttribute("role", "region");
    region?.setAttribute("aria-label", name);
  }

  const write = async (text) => {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const field = document.body.appendChild(Object.assign(document.createElement("textarea"), { value: text }));
    field.select();
    const copied = document.execCommand("copy"); // pages served without TLS have no clipboard
    field.remove();
    if (!copied) throw new Error("the browser refused");
  };
  const copy = async (control, text) => {
    const before = control.textContent;
    const words = await write(text).then(() => "Copied", () => "Copying is not allowed here");
    control.textContent = words;
    announce(words);
    setTimeout(() => { if (control.textContent === words) control.textContent = before; }, 1600);
  };

  document.addEventListener("click", (event) => {
    const control = event.target.closest(".fn-copy, .fn-share");
    if (!control) return;
    event.preventDefault();
    if (control.matches(".fn-share")) return copy(control, control.href);
    const place = control.closest("#fn-conversation");
    const number = [...place.querySelectorAll(".fn-copy")].indexOf(control);
    copy(control, place.querySelectorAll(".fn-raws pre")[number].textContent);
  });

  document.addEventListener("click", (event) => { // the button that was pressed by keyboard gives way to the other one
    const button = event.target.closest(".fn-ask button");
    if (button && event.detail === 0) button.closest(".fn-ask").querySelector("textarea").focus();
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const stops = [...document.querySelectorAll("button.fn-stop:not(:disabled)")];
    stops.find((button) => button.offsetParent)?.click();
  });
}
