// What makes the HL7 tools alive: the log looks for news, a text is judged while it is typed, the
// mapping page answers without being loaded anew. Each works without this, by its buttons.
"use strict";

const EVERY = 3000; // milliseconds between two looks at the log
const PATIENCE = 15 * 60 * 1000; // nobody there for so long: no more looks, the session may end
const TYPING = 500; // milliseconds of rest before a typed text is judged

// --- lists that look for news

let lastSign = Date.now();
for (const kind of ["pointermove", "keydown", "scroll", "focus"]) {
  addEventListener(kind, () => { lastSign = Date.now(); }, {passive: true});
}

async function look(part) {
  const busy = document.hidden || Date.now() - lastSign > PATIENCE || !getSelection().isCollapsed;
  // A form that has the focus must not vanish under the hand.
  const held = part.contains(document.activeElement) && document.activeElement.matches("button");
  if (busy || held) return true;
  const answer = await fetch(part.dataset.live, {credentials: "same-origin"});
  if (answer.redirected || answer.status === 403) return false;
  if (!answer.ok) return true;
  const text = await answer.text();
  if (text === part.seen) return true;
  const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
  part.innerHTML = text;
  part.seen = text;
  if (focused) document.getElementById(focused)?.focus({preventScroll: true});
  return true;
}

for (const part of document.querySelectorAll("[data-live]")) {
  const again = async () => {
    const goesOn = await look(part).catch(() => true);
    if (goesOn) setTimeout(again, EVERY);
  };
  setTimeout(again, EVERY);
}

// --- forms that answer in place

async function ask(form, button) {
  const data = new FormData(form);
  if (button?.name) data.set(button.name, button.value);
  const isFiles = form.enctype === "multipart/form-data";
  const answer = await fetch(form.action, {
    method: "POST",
    body: isFiles ? data : new URLSearchParams(data),
    credentials: "same-origin",
  });
  if (answer.redirected || !(answer.headers.get("content-type") || "").startsWith("text/html")) {
    throw new Error("not a page");
  }
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

// The whole form is exchanged; the focus stays where it was, or goes where the work goes on.
async function swap(form, button) {
  const page = await ask(form, button);
  const news = page.getElementById(form.id);
  if (!news) throw new Error("not this page");
  const opened = [...form.querySelectorAll("details")].map((each) => each.open);
  const scrolled = form.querySelector(".sample")?.scrollTop ?? 0;
  const focus = document.activeElement?.id;
  const was = [form.elements.selected?.value, form.elements.picked?.value].join();
  form.replaceWith(document.adoptNode(news));
  [...news.querySelectorAll("details")].forEach((each, n, all) => {
    if (all.length === opened.length) each.open = opened[n];
  });
  const sample = news.querySelector(".sample");
  if (sample) sample.scrollTop = scrolled;
  const isOther = [news.elements.selected?.value, news.elements.picked?.value].join() !== was;
  const next = isOther && (news.querySelector(".offers") || news.querySelector("#segment"));
  const place = next || document.getElementById(focus) || document.getElementById("new_field");
  place?.focus({preventScroll: !isOther});
  if (place?.id === "segment") place.select();
  if (isOther && next) next.scrollIntoView({block: "nearest"});
}

// One after the other: what is pressed meanwhile acts upon the form that the one before gave.
let turn = Promise.resolve();
function swapInTurn(form, button) {
  const swapped = turn.then(() => swap(document.getElementById(form.id), button));
  turn = swapped.catch(() => {});
  return swapped;
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  const button = event.submitter;
  if (!form.matches("[data-swap], [data-check]") || button?.matches("[data-plain]")) return;
  if (form.matches("[data-check]") && button?.value !== "check") return;
  event.preventDefault();
  const work = form.matches("[data-swap]") ? swapInTurn(form, button) : judge(form);
  work.catch(() => {
    const shown = document.getElementById(form.id) || form;
    if (button?.name) {
      const kept = Object.assign(document.createElement("input"),
        {type: "hidden", name: button.name, value: button.value});
      shown.append(kept);
    }
    shown.submit();
  });
});

// A text is judged while it is typed: only the verdict is exchanged, never what is typed.
async function judge(form) {
  const page = await ask(form, {name: "do", value: "check"});
  const id = form.dataset.check;
  const news = page.getElementById(id);
  if (news) document.getElementById(id)?.replaceWith(document.adoptNode(news));
}

let resting;
document.addEventListener("input", (event) => {
  const form = event.target.form;
  if (event.target.type === "file" || !form) return;
  const inEditor = form.matches("[data-swap]") && event.target.closest(".editor");
  const inText = form.matches("[data-check]") && event.target.matches("textarea");
  if (!inEditor && !inText) return;
  clearTimeout(resting);
  resting = setTimeout(() => {
    (inText ? judge(form) : results(form)).catch(() => {});
  }, TYPING);
});

// While a row is edited its result changes; the fields under the hand stay.
async function results(form) {
  const page = await ask(form, {name: "do", value: "apply"});
  if (!form.isConnected) return;
  for (const selector of ["#said", ".editor .help"]) {
    const [old, news] = [form.querySelector(selector), page.querySelector(`#work ${selector}`)];
    if (old && news) old.replaceWith(document.adoptNode(news));
  }
}

// Choosing another message shows it.
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-swap] #message")) {
    swapInTurn(event.target.form, document.getElementById("show")).catch(() => {});
  }
});
