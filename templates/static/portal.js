// What pages can do beyond their HTML: copy buttons, keys, a sign that a search is under way.
// Nothing needs it; nothing here talks to anybody.
"use strict";

for (const button of document.querySelectorAll("[data-copy], [data-keys]")) button.hidden = false;

document.addEventListener("click", async (event) => {
  const copier = event.target.closest("[data-copy]");
  if (copier) {
    const said = copier.parentElement.querySelector("[data-copied]");
    try {
      await navigator.clipboard.writeText(copier.dataset.copy);
      if (said) said.textContent = "Copied";
      copier.title = "Copied";
      copier.classList.add("done");
    } catch {
      // The clipboard is closed on plain http: select the text, one key press copies it.
      const field = copier.closest("section, dd")?.querySelector("[data-select]");
      if (field) {
        field.focus();
        field.select();
      }
      const copied = field && document.execCommand("copy");
      if (said) said.textContent = copied ? "Copied" : "Press Ctrl+C to copy";
    }
    return;
  }
  if (event.target.closest("[data-keys]")) document.getElementById("keys")?.showModal();
});

document.addEventListener("focusin", (event) => {
  if (event.target.matches("[data-select]")) event.target.select();
});

document.addEventListener("submit", (event) => {
  if (event.target.matches("form.search")) event.target.setAttribute("aria-busy", "true");
});
window.addEventListener("pageshow", () => {
  document.querySelector("form.search")?.removeAttribute("aria-busy");
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const typing = event.target.matches("input, textarea, select");
  if (event.key === "/" && !typing) {
    const line = document.getElementById("q");
    event.preventDefault();
    if (line) line.select();
    else location.assign("/search");
  } else if (event.key === "?" && !typing) {
    document.getElementById("keys")?.showModal();
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    if (typing && event.target.id !== "q") return;
    const rows = [...document.querySelectorAll(".row-link")];
    const at = rows.indexOf(document.activeElement);
    const next = event.key === "ArrowDown" ? rows[at + 1] : at > 0 ? rows[at - 1] : null;
    if (!next) return;
    event.preventDefault();
    next.focus();
  }
});
