// What the page does by itself in the browser: it copies, announces, moves the focus and listens for Escape. Nothing is fetched.
() => {
  const said = document.getElementById("fn-said");
  const announce = (words) => { said.textContent = words; };

  const seen = (selector) => [...document.querySelectorAll(selector)].find((found) => found.offsetParent);

  // A screen reader hears a line when its state changes, never each token of an answer.
  const heard = new WeakMap();
  const listen = (line) => {
    const words = line.textContent.trim();
    const busy = line.querySelector(".fn-status.fn-busy");
    const state = busy ? busy.className : words;
    if (state === (heard.get(line) ?? "")) return;
    heard.set(line, state);
    if (words && line.offsetParent) announce(words);
  };

  // Tables, code and formulas that scroll can be reached by keyboard; Ask says that it rests while an answer is written.
  const settle = () => {
    for (const wide of document.querySelectorAll(".fn-answer .prose :is(pre, .katex-display, table)")) {
      if (wide.scrollWidth > wide.clientWidth && wide.tabIndex < 0) wide.tabIndex = 0;
    }
    const talk = document.getElementById("fn-conversation");
    if (!talk) return;
    talk.setAttribute("role", "region");
    talk.setAttribute("aria-label", "Conversation");
    const rests = String(talk.querySelector(".fn-busy") !== null);
    const go = talk.closest("[role=tabpanel]").querySelector(".fn-ask button.primary");
    if ((go.getAttribute("aria-disabled") ?? "false") !== rests) go.setAttribute("aria-disabled", rests);
  };
  let settling = 0;
  const settleSoon = () => { settling ||= requestAnimationFrame(() => { settling = 0; settle(); }); };
  window.addEventListener("resize", settleSoon);

  // Of the whole page, for Gradio builds a tab when it is first opened.
  new MutationObserver((records) => {
    const changed = records.map(({ target }) => (target.closest ? target : target.parentElement)?.closest(".block.fn-line"));
    for (const line of new Set(changed)) if (line) listen(line);
    settleSoon();
  }).observe(document.body, { childList: true, subtree: true, characterData: true, attributeFilter: ["class"] });
  settle();

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

  // A button that was pressed by keyboard gives way to something else: there the focus goes, as soon as it is there.
  const NEXT = [
    [".fn-votes button", ".fn-revealed h2"],
    [".fn-form button", ".fn-note"],
    [".fn-after button.fn-act:not(#fn-retry, .fn-new)", ".fn-form textarea, .fn-talk .fn-note"],
    [".fn-ask button, .fn-stop, .fn-act, .fn-example", ".fn-box textarea, button.primary"],
  ];
  const goTo = (next, left = 30) => {
    const place = seen(next);
    if (!place) return left && setTimeout(goTo, 100, next, left - 1);
    if (place.tabIndex < 0) place.tabIndex = -1; // words can be read from there, but are no stop of the Tab key
    place.focus();
  };
  document.addEventListener("click", (event) => {
    const pressed = event.detail === 0 && NEXT.find(([buttons]) => event.target.closest(buttons));
    if (pressed) goTo(pressed[1]);
  });

  document.addEventListener("click", (event) => {
    const name = event.target.closest("[role=tab]")?.textContent.trim().toLowerCase();
    if (name) history.replaceState(null, "", `?tab=${name}`);
  });

  const resting = (event) => {
    if (event.target.closest(".fn-ask")?.querySelector("button.primary[aria-disabled=true]")) {
      announce("One answer is being written. Stop it, or wait for its end.");
    }
  };
  document.addEventListener("click", (event) => { if (event.target.closest("button.primary")) resting(event); });
  document.addEventListener("keydown", (event) => { if (event.key === "Enter") resting(event); });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const stops = [...document.querySelectorAll("button.fn-stop:not(:disabled)")];
    stops.find((button) => button.offsetParent)?.click();
  });
}
