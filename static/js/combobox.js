/* A text field with a datalist (`data-combobox`) becomes a searchable list: by group, with notes, by keyboard.

   The field keeps its name and its value; whatever is typed may stay. Groups begin at the options with `data-group`. */
"use strict";

(() => {
  const MOST_SHOWN = 100;
  let made = 0;

  function read(datalist) {
    let group = "";
    return [...datalist.options].map((option) => {
      group = option.dataset.group || group;
      const name = option.textContent;
      return { id: option.value, name, group, note: option.dataset.note || "", words: `${name} ${option.value}`.toLowerCase() };
    });
  }

  function element(tag, css, text) {
    const one = document.createElement(tag);
    one.className = css;
    if (text) one.textContent = text;
    return one;
  }

  class Combobox {
    constructor(input) {
      this.input = input;
      this.choices = read(input.list);
      this.shown = [];
      this.active = -1;
      this.id = `combobox-${++made}`;
      this.list = element("div", "combobox-list");
      this.list.id = this.id;
      this.list.popover = "manual";
      this.list.setAttribute("role", "listbox");
      this.list.setAttribute("aria-label", input.dataset.combobox || "Models");
      this.count = element("span", "sr-only");
      this.count.setAttribute("aria-live", "polite");
      const box = element("span", "combobox");
      const hadFocus = document.activeElement === input;
      input.replaceWith(box);
      box.append(input, this.list, this.count);
      if (hadFocus) input.focus();
      input.removeAttribute("list");
      for (const [name, value] of [["role", "combobox"], ["aria-autocomplete", "list"], ["aria-expanded", "false"], ["aria-controls", this.id]]) {
        input.setAttribute(name, value);
      }
      input.addEventListener("input", () => this.open(this.input.value));
      input.addEventListener("click", () => this.isOpen() || this.open(""));
      input.addEventListener("keydown", (event) => this.key(event));
      input.addEventListener("blur", () => this.close());
      this.list.addEventListener("mousedown", (event) => {
        event.preventDefault();
        const option = event.target.closest("[role=option]");
        if (option) this.choose(Number(option.dataset.at));
      });
      const place = () => this.isOpen() && this.place();
      addEventListener("scroll", place, { capture: true, passive: true });
      addEventListener("resize", place);
    }

    isOpen() {
      return this.list.matches(":popover-open");
    }

    open(typed) {
      const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
      const found = this.choices.filter((choice) => words.every((word) => choice.words.includes(word)));
      this.shown = found.slice(0, MOST_SHOWN);
      this.draw(found.length);
      if (!this.isOpen()) {
        this.list.showPopover();
        this.input.setAttribute("aria-expanded", "true");
      }
      this.place();
      const current = typed ? -1 : this.shown.findIndex((choice) => choice.id === this.input.value);
      this.mark(current);
    }

    draw(total) {
      this.list.replaceChildren();
      let part = null;
      let group = null;
      this.shown.forEach((choice, at) => {
        if (choice.group !== group) {
          group = choice.group;
          part = element("div", "combobox-group");
          part.setAttribute("role", "group");
          part.setAttribute("aria-label", group);
          const label = element("div", "combobox-label", group);
          label.setAttribute("aria-hidden", "true");
          part.append(label);
          this.list.append(part);
        }
        const option = element("div", "combobox-option");
        option.id = `${this.id}-${at}`;
        option.dataset.at = at;
        option.setAttribute("role", "option");
        option.setAttribute("aria-selected", String(choice.id === this.input.value));
        option.append(element("span", "combobox-name", choice.name), element("span", "combobox-note", choice.note));
        option.append(element("span", "combobox-id", choice.id));
        part.append(option);
      });
      const rest = total - this.shown.length;
      const none = "No model matches. What you type is checked when you save.";
      if (!total || rest) this.list.append(element("p", "combobox-rest", total ? `${rest} more: type to find them.` : none));
      this.count.textContent = total === 1 ? "1 model" : `${total} models`;
    }

    place() {
      const field = this.input.getBoundingClientRect();
      const below = innerHeight - field.bottom - 12;
      const above = field.top - 12;
      const up = below < 200 && above > below;
      const style = this.list.style;
      style.left = `${field.left}px`;
      style.width = `${field.width}px`;
      style.maxHeight = `${Math.min(360, up ? above : below)}px`;
      style.top = up ? "auto" : `${field.bottom + 4}px`;
      style.bottom = up ? `${innerHeight - field.top + 4}px` : "auto";
    }

    mark(at) {
      this.list.querySelector(".is-active")?.classList.remove("is-active");
      this.active = at;
      const option = at >= 0 && document.getElementById(`${this.id}-${at}`);
      if (!option) {
        this.input.removeAttribute("aria-activedescendant");
        return;
      }
      option.classList.add("is-active");
      option.scrollIntoView({ block: "nearest" });
      this.input.setAttribute("aria-activedescendant", option.id);
    }

    choose(at) {
      this.input.value = this.shown[at].id;
      this.close();
      this.input.dispatchEvent(new Event("change", { bubbles: true }));
      const form = this.input.closest("form[data-guard]");
      if (form) form.dataset.changed = "1";
    }

    close() {
      if (!this.isOpen()) return;
      this.list.hidePopover();
      this.input.setAttribute("aria-expanded", "false");
      this.mark(-1);
    }

    key(event) {
      const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };
      if (event.key in steps) {
        event.preventDefault();
        if (!this.isOpen()) {
          this.open("");
          return;
        }
        const last = this.shown.length - 1;
        const from = this.active < 0 && steps[event.key] < 0 ? last + 1 : this.active;
        this.mark(Math.max(0, Math.min(last, from + steps[event.key])));
      } else if (event.key === "Enter" && this.isOpen() && this.active >= 0) {
        event.preventDefault();
        this.choose(this.active);
      } else if (event.key === "Escape" && this.isOpen()) {
        event.preventDefault();
        event.stopPropagation();
        this.close();
      }
    }
  }

  function ready() {
    for (const input of document.querySelectorAll("input[data-combobox][list]")) {
      if (input.list) new Combobox(input);
    }
  }

  document.addEventListener("htmx:afterSettle", ready);
  ready();
})();
