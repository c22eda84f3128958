/* The model policy while it is edited: what is shown, what is changed, and both lists at once. */
"use strict";

(() => {
  const SEARCHED = new WeakMap();
  const policy = () => document.getElementById("policy");
  const boxOf = (row) => row.querySelector("input[type=checkbox]");
  const rowsOf = (part) => part.querySelectorAll(".policy-table > tbody > tr");

  function was(row, box) {
    return row.dataset.was === undefined ? box.defaultChecked : row.dataset.was === "1";
  }

  function isChanged(row) {
    const box = boxOf(row);
    return box.checked !== was(row, box);
  }

  function wordsOf(row) {
    if (!SEARCHED.has(row)) {
      SEARCHED.set(row, `${row.querySelector("th").textContent} ${row.dataset.by || ""}`.toLowerCase());
    }
    return SEARCHED.get(row);
  }

  // ------------------------------------------------------------ what is shown

  function filters(form) {
    const words = form.elements.q.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = {};
    for (const select of form.querySelectorAll("[data-narrows]")) {
      if (select.value) chosen[select.dataset.narrows] = select.value;
    }
    return { words, chosen };
  }

  function shows(row, words, chosen, isModel) {
    const { show, input, price, ...about } = chosen;
    const marks = [...Object.values(about), ...(isModel ? [input, price].filter(Boolean) : [])];
    const states = { allowed: () => boxOf(row).checked, denied: () => !boxOf(row).checked, changed: () => isChanged(row) };
    const has = row.dataset.is.split(" ");
    return (
      (!show || states[show]()) &&
      marks.every((mark) => has.includes(mark)) &&
      words.every((word) => wordsOf(row).includes(word))
    );
  }

  function narrow(form) {
    const { words, chosen } = filters(form);
    for (const list of form.querySelectorAll("[data-policy-list]")) {
      let shown = 0;
      for (const row of rowsOf(list)) {
        row.hidden = !shows(row, words, chosen, list.id === "models");
        shown += row.hidden ? 0 : 1;
      }
      list.querySelector("[data-policy-shown]").textContent = shown.toLocaleString("en");
      list.querySelector("[data-policy-none]").hidden = shown > 0;
    }
    remember(form, words, chosen);
  }

  function remember(form, words, chosen) {
    const given = new URLSearchParams(chosen);
    if (words.length) given.set("q", form.elements.q.value);
    if (form.elements.tab.value !== "models") given.set("tab", form.elements.tab.value);
    const query = given.toString();
    history.replaceState(history.state, "", query ? `${location.pathname}?${query}` : location.pathname);
  }

  // ------------------------------------------------------------ what is changed

  function scopeChanged(form) {
    return [...form.querySelectorAll("[name=scope]")].some((radio) => radio.checked !== storedScope(form, radio));
  }

  function storedScope(form, radio) {
    return (form.elements.were_allowed.value === "*") === (radio.value === "every");
  }

  function count(form) {
    const bar = form.querySelector("[data-policy-bar]");
    if (!bar) return;
    let changes = 0;
    for (const list of form.querySelectorAll("[data-policy-list]")) {
      let allowed = 0;
      for (const row of rowsOf(list)) {
        const changed = isChanged(row);
        row.classList.toggle("is-changed", changed);
        changes += changed ? 1 : 0;
        allowed += boxOf(row).checked ? 1 : 0;
      }
      list.querySelector("[data-policy-allowed]").textContent = allowed.toLocaleString("en");
    }
    if (!changes && scopeChanged(form)) changes = 1;
    bar.hidden = !changes;
    bar.querySelector("[data-policy-count]").textContent = changes.toLocaleString("en");
    bar.querySelector("[data-policy-plural]").textContent = changes === 1 ? "" : "s";
    if (changes) form.dataset.changed = "1";
    else delete form.dataset.changed;
  }

  function discard(form) {
    for (const row of rowsOf(form)) {
      const box = boxOf(row);
      box.checked = was(row, box);
    }
    for (const radio of form.querySelectorAll("[name=scope]")) radio.checked = storedScope(form, radio);
    for (const alert of form.querySelectorAll("#policy-answer .alert")) alert.remove();
    update(form);
  }

  function update(form) {
    count(form);
    if (form.elements.show.value) narrow(form);
  }

  // ------------------------------------------------------------ providers: every one, or those that are ticked

  function providersOf(form) {
    return form.querySelectorAll("input[name=provider]");
  }

  function followTick(form) {
    if ([...providersOf(form)].every((box) => box.checked)) return;
    form.querySelector("[name=scope][value=selected]").checked = true;
  }

  function followScope(form) {
    if (form.elements.scope.value === "every") {
      for (const box of providersOf(form)) box.checked = true;
    }
  }

  // ------------------------------------------------------------ events

  document.addEventListener("input", (event) => {
    const form = event.target.form;
    if (form && form === policy() && event.target.name === "q") narrow(form);
  });

  document.addEventListener("change", (event) => {
    const { form, name } = event.target;
    if (!form || form !== policy()) return;
    if (event.target.matches("[data-narrows], [name=tab]")) narrow(form);
    if (name === "scope") followScope(form);
    if (name === "provider") followTick(form);
    if (["scope", "provider", "model"].includes(name)) count(form);
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.form === policy() && event.target.matches("input:not([type=submit])")) {
      event.preventDefault();
    }
  });

  document.addEventListener("click", (event) => {
    const form = policy();
    if (!form) return;
    const all = event.target.closest("[data-policy-all]");
    if (all) {
      for (const row of rowsOf(all.closest("[data-policy-list]"))) {
        if (!row.hidden) boxOf(row).checked = all.dataset.policyAll === "on";
      }
      followTick(form);
      count(form);
    }
    if (event.target.closest("[data-policy-discard]")) {
      event.preventDefault();
      discard(form);
    }
  });

  function ready() {
    const form = policy();
    if (form) count(form);
  }

  document.addEventListener("htmx:afterSettle", ready);
  ready();
})();
