// What pages can do beyond their HTML: copy buttons, keys, a sign that a search is under way.
// Nothing needs it; nothing here talks to anybody.
"use strict";

for (const button of document.querySelectorAll("[data-copy], [data-keys]")) button.hidden = false;

document.addEventListener("click", async (event) => {
  const copier = event.target.closest("[data-copy]");
  if (copier) {
    const said = copier.parentElement.querySelector("[data-copied]");
    try {
      const source = document.getElementById(copier.dataset.of);
      await navigator.clipboard.writeText(source ? source.value : copier.dataset.copy);
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

// Lists whose rows can be selected: buttons that need one or some rows wait for them.
const boxes = [...document.querySelectorAll(".pick input[name]")];
const all = document.querySelector("[data-pick-all]");
function picked() {
  const count = boxes.filter((box) => box.checked).length;
  for (const button of document.querySelectorAll("[data-needs]")) {
    button.disabled = button.dataset.needs === "one" ? count !== 1 : !count;
  }
  for (const said of document.querySelectorAll("[data-picked]")) {
    said.textContent = count ? `${count} selected` : "None selected";
  }
  if (all) {
    all.checked = count > 0 && count === boxes.length;
    all.indeterminate = count > 0 && count < boxes.length;
  }
}
if (boxes.length) {
  if (all) all.hidden = false;
  document.addEventListener("change", (event) => {
    if (event.target === all) for (const box of boxes) box.checked = all.checked;
    picked();
  });
  window.addEventListener("pageshow", picked);
  picked();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const typing = event.target.matches("input:not([type=checkbox]), textarea, select");
  if (event.key === "/" && !typing) {
    const line = document.getElementById("q");
    event.preventDefault();
    if (line) line.select();
    else location.assign("/search");
  } else if (event.key === " " && event.target.matches(".row-link")) {
    const box = event.target.closest("tr").querySelector(".pick input");
    if (!box) return;
    event.preventDefault();
    box.click();
  } else if (event.key === "Escape" && !typing) {
    document.querySelector("[data-close]")?.click();
  } else if (event.key === "?" && !typing) {
    document.getElementById("keys")?.showModal();
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    if (typing && event.target.id !== "q") return;
    const rows = [...document.querySelectorAll(".row-link")];
    // From the row that has the focus, else from the one that is open.
    const row = document.activeElement.closest("tr") || document.querySelector("tr.opened");
    const at = rows.indexOf(row?.querySelector(".row-link"));
    const next = event.key === "ArrowDown" ? rows[at + 1] : at > 0 ? rows[at - 1] : null;
    if (!next) return;
    event.preventDefault();
    next.focus();
  }
});
