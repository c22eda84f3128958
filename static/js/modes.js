/* The slug follows the name while it is typed, until somebody writes one himself. The server does the same. */
"use strict";

(() => {
  const slugOf = (name) => name.normalize("NFKD").replace(/[^\x00-\x7f]/g, "").toLowerCase()
    .replace(/[^a-z0-9]+/g, "-").replace(/^-+/, "").slice(0, 50).replace(/-+$/, "");

  document.addEventListener("input", (event) => {
    const input = event.target;
    const slug = input.dataset.slugFor && document.getElementById(input.dataset.slugFor);
    if (!slug) return;
    const derived = slug.dataset.derived ?? slugOf(input.defaultValue);
    if (slug.value && slug.value !== derived) return;
    slug.value = slugOf(input.value);
    slug.dataset.derived = slug.value;
  });
})();
