// What ipywidgets leaves out of the book's panels: names, values in words and states for
// screen readers, a value that follows the handle, and a word where no kernel answers.
// controls.py sends it with every panel; the first one does the work for all.
(() => {
  if (window.pudmPanels) return;
  window.pudmPanels = true;
  const PATIENCE = 1500; // milliseconds without an answer before that is said
  const BUSY = "The kernel is busy: picture and words follow when it is free.";
  const GONE = "No kernel answers this panel: run this cell again.";
  const EITHER = "The kernel is busy; if this stays, run this cell again.";
  const positions = new WeakMap(); // panel -> where its controls stand
  const waiting = new WeakMap(); // panel -> timer

  function set(element, name, value) {
    if (element.getAttribute(name) !== value) element.setAttribute(name, value);
  }

  function dress(panel) {
    for (const box of panel.querySelectorAll(".pudm-slider")) {
      const handle = box.querySelector("[role=slider]");
      const shown = box.querySelector(".pudm-value");
      if (!handle || !shown) continue; // not drawn yet
      const place = Math.round(handle.getAttribute("aria-valuenow"));
      const words = JSON.parse(shown.dataset.words)[place];
      set(handle, "aria-label", box.querySelector(".widget-label").textContent);
      set(handle, "aria-valuetext", words);
      if (shown.textContent !== words) shown.textContent = words;
    }
    for (const group of panel.querySelectorAll(".widget-toggle-buttons")) {
      const label = group.querySelector(".widget-label");
      label.style.marginRight = "8px";
      set(group, "role", "group");
      set(group, "aria-label", label.textContent);
      for (const button of group.querySelectorAll("button"))
        set(button, "aria-pressed", String(button.classList.contains("mod-active")));
    }
  }

  // Has the reader moved something? While a handle is dragged, nothing is asked yet.
  function watch(panel) {
    if (panel.querySelector(".noUi-active")) return;
    const values = [...panel.querySelectorAll("[role=slider]")];
    const pressed = [...panel.querySelectorAll("[aria-pressed]")];
    const now = JSON.stringify([
      values.map((handle) => handle.getAttribute("aria-valuenow")),
      pressed.map((button) => button.getAttribute("aria-pressed")),
    ]);
    const before = positions.get(panel);
    positions.set(panel, now);
    if (before !== undefined && before !== now && !answered.has(panel)) ask(panel);
  }

  // Widgets may have a line to the kernel of their own, idle while a cell runs: the
  // cell's mark is looked at as well.
  function isBusy(notebook) {
    const status = notebook.querySelector(".jp-Notebook-ExecutionIndicator");
    const marks = [...notebook.querySelectorAll(".jp-InputPrompt")];
    return (
      status?.dataset.status === "busy" || marks.some((m) => m.textContent === "[*]:")
    );
  }

  function say(panel) {
    if (!panel.isConnected) return hear(panel);
    const notebook = panel.closest(".jp-NotebookPanel");
    const words = !notebook ? EITHER : isBusy(notebook) ? BUSY : GONE;
    const notice = panel.querySelector(".pudm-notice");
    if (notice.textContent !== words) notice.textContent = words;
  }

  function ask(panel) {
    clearInterval(waiting.get(panel));
    waiting.set(panel, setInterval(say, PATIENCE, panel));
  }

  function hear(panel) {
    clearInterval(waiting.get(panel));
    panel.querySelector(".pudm-notice").textContent = "";
  }

  // What the kernel changes in a panel is the content of an HTML widget.
  const answered = new Set();
  function look(records) {
    answered.clear();
    for (const { type, target } of records) {
      const answer = type === "childList" && target.matches?.(".widget-html-content");
      const panel = answer && target.closest(".pudm-panel");
      if (panel) answered.add(panel);
    }
    answered.forEach(hear);
    for (const panel of document.querySelectorAll(".pudm-panel")) {
      dress(panel);
      watch(panel);
    }
  }

  const attributeFilter = ["aria-valuenow", "aria-valuetext", "class"];
  const all = { subtree: true, childList: true, attributes: true, attributeFilter };
  new MutationObserver(look).observe(document.body, all);
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".pudm-panel button:not([aria-pressed])");
    if (button) ask(button.closest(".pudm-panel"));
  });
  look([]);
})();
