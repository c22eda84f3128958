/* What the pages do beyond HTML. Each part adds something to a page that works without it. */
"use strict";

(() => {
  const overlay = () => document.getElementById("overlay");
  const TOAST_MS = 6000;

  // ------------------------------------------------------------ toasts

  function armToast(toast) {
    if (toast.dataset.armed) return;
    toast.dataset.armed = "1";
    const close = toast.querySelector("[data-dismiss]");
    close.hidden = false;
    close.addEventListener("click", () => toast.remove());
    if (toast.classList.contains("toast-error")) return;
    let timer = setTimeout(() => toast.remove(), TOAST_MS);
    const wait = () => clearTimeout(timer);
    const resume = () => { timer = setTimeout(() => toast.remove(), TOAST_MS / 2); };
    for (const name of ["mouseenter", "focusin"]) toast.addEventListener(name, wait);
    for (const name of ["mouseleave", "focusout"]) toast.addEventListener(name, resume);
  }

  // A modal dialog makes everything beside it inert: meanwhile toasts live in it.
  function toastRegion() {
    const region = document.getElementById("toasts");
    const home = document.querySelector("dialog[open]") || document.body;
    if (region.parentElement !== home) home.append(region);
    return region;
  }

  function toast(text, tone = "success") {
    const template = document.getElementById(tone === "error" ? "toast-error" : "toast-success");
    const made = template.content.firstElementChild.cloneNode(true);
    made.querySelector("p").textContent = text;
    const region = toastRegion();
    for (const shown of region.querySelectorAll("[data-toast]")) {
      if (shown.textContent.trim() === made.textContent.trim()) shown.remove();
    }
    region.append(made);
    armToast(made);
  }

  document.addEventListener("toast", (event) => toast(event.detail.text, event.detail.tone));

  // ------------------------------------------------------------ overlays: what a link opens above the page

  let opener = null;

  function showOverlay() {
    const dialog = overlay().querySelector("dialog");
    if (!dialog || dialog.open) return;
    dialog.addEventListener("close", () => {
      document.body.append(document.getElementById("toasts"));
      dialog.remove();
      if (opener && opener.isConnected) opener.focus();
      opener = null;
    });
    dialog.addEventListener("cancel", (event) => {
      if (!mayLeave(dialog)) event.preventDefault();
    });
    dialog.addEventListener("mousedown", (event) => {
      if (event.target === dialog && mayLeave(dialog)) dialog.close();
    });
    dialog.showModal();
    // What has nothing to tab to is scrolled with the keyboard by its own.
    const body = dialog.querySelector(".overlay-body");
    if (!body.querySelector("a[href], button, input, select, textarea, summary, [tabindex]")) body.tabIndex = 0;
  }

  function closeOverlay() {
    const dialog = overlay().querySelector("dialog");
    if (!dialog) return;
    for (const form of dialog.querySelectorAll("form")) delete form.dataset.changed;
    dialog.close();
  }

  document.addEventListener("click", (event) => {
    const closes = event.target.closest("[data-close]");
    const dialog = closes && closes.closest("dialog");
    if (!dialog) return;
    event.preventDefault();
    if (mayLeave(dialog)) dialog.close();
  });
  document.addEventListener("close-overlay", closeOverlay);

  // ------------------------------------------------------------ changes that were not saved

  document.addEventListener("input", (event) => {
    const form = event.target.closest("form[data-guard]");
    if (form) form.dataset.changed = "1";
  });
  document.addEventListener("submit", (event) => { delete event.target.dataset.changed; });

  function mayLeave(part) {
    const changed = part.querySelector("form[data-changed]");
    return !changed || window.confirm("Leave without saving? What you changed here is lost.");
  }

  window.addEventListener("beforeunload", (event) => {
    if (document.querySelector("form[data-changed]")) event.preventDefault();
  });

  // ------------------------------------------------------------ forms

  function focusFirstError(part) {
    const field = part.querySelector('[aria-invalid="true"]');
    const alert = part.querySelector("[data-focus]");
    const found = alert || field;
    if (found) found.focus();
    return Boolean(found);
  }

  document.addEventListener("change", (event) => {
    const form = event.target.closest("form");
    if (form && event.target.matches("[data-submit-on-change]")) form.requestSubmit();
  });

  // ------------------------------------------------------------ copying

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    const text = "value" in source ? source.value : source.textContent;
    try {
      await navigator.clipboard.writeText(text);
      toast("Copied to the clipboard.");
    } catch {
      const range = document.createRange();
      range.selectNodeContents(source);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      toast("It is selected: copy it with the keyboard.", "error");
    }
  });

  // ------------------------------------------------------------ filtering what is on the page

  function filter(input) {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const list = document.getElementById(input.dataset.filter);
    let shown = 0;
    for (const row of list.querySelectorAll("[data-filter-text]")) {
      const text = row.dataset.filterText.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    const empty = document.getElementById(`${input.dataset.filter}-none`);
    if (empty) empty.hidden = shown > 0;
    const count = document.getElementById(`${input.dataset.filter}-count`);
    if (count) count.textContent = String(shown);
  }

  document.addEventListener("input", (event) => {
    if (event.target.matches("[data-filter]")) filter(event.target);
  });

  // ------------------------------------------------------------ menus close by themselves

  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const menu = event.target.closest("details.menu[open], .top details[open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });

  // ------------------------------------------------------------ htmx

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.target === overlay() && !overlay().querySelector("dialog[open]")) {
      opener = document.activeElement;
    }
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    // A form in a dialog is replaced in the dialog, so that it stays open and nothing flickers.
    const dialog = event.detail.target === overlay() && overlay().querySelector("dialog[open]");
    if (!dialog) return;
    const fresh = new DOMParser().parseFromString(event.detail.serverResponse, "text/html").querySelector("dialog");
    if (!fresh) return;
    event.detail.target = dialog;
    event.detail.serverResponse = fresh.innerHTML;
    document.body.append(document.getElementById("toasts"));
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    // What was swapped as a whole is gone: the event comes to what has taken its place.
    const target = event.detail.target.isConnected ? event.detail.target : event.target;
    if (target === overlay()) showOverlay();
    if (target.id === "main") {
      closeOverlay();
      if (document.activeElement === document.body) target.focus({ preventScroll: true });
    }
    const status = event.detail.xhr ? event.detail.xhr.status : 0;
    const isForm = status >= 400 || target.closest("dialog");
    if (isForm && !focusFirstError(target) && target.tagName === "DIALOG") {
      const heading = target.querySelector("h1");
      if (heading) heading.focus();
    }
    ready();
  });
  document.addEventListener("htmx:sendError", () => {
    toast("The gateway cannot be reached. Check the connection and try again.", "error");
  });
  document.addEventListener("htmx:timeout", () => {
    toast("The gateway took too long to answer. Try again.", "error");
  });
  document.addEventListener("htmx:responseError", (event) => {
    if (event.detail.xhr.getResponseHeader("HX-Trigger")) return;
    toast("Something went wrong. Nothing was saved; try again.", "error");
  });

  // ------------------------------------------------------------ a page that has just come

  function ready() {
    for (const shown of document.querySelectorAll("[data-toast]")) armToast(shown);
    for (const hidden of document.querySelectorAll("[data-needs-script][hidden]")) hidden.hidden = false;
    for (const spare of document.querySelectorAll("[data-without-script]")) spare.hidden = true;
    const region = document.getElementById("toasts");
    if (region.querySelector("[data-toast]")) toastRegion();
  }

  ready();
  focusFirstError(document);
})();
