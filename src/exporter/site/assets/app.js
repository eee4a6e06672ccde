// Keeps the page fresh: asks for it again every few seconds, and changes what has changed. Rows, focus, selection and
// scroll position stay, for elements stay. Without this script the page is the same, but for freshness and the buttons.
"use strict";

const EVERY = 3000;
const PATIENCE = 10000;
const PARTS = ["live-health", "live-sources", "json", "now"];

const age = document.getElementById("age");
const pause = document.getElementById("pause");
const form = document.getElementById("filter");
let paused = false;
let failed = false;
let timer = 0;
let asking = null;

function tell(text, stale) {
  if (age.textContent !== text) age.textContent = text;
  age.parentElement.classList.toggle("stale", stale);
}

// What tells a row from the others, wherever it stands.
function key(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null;
}

function alike(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName && key(one) === key(other);
}

function attributes(node, fresh) {
  for (const { name, value } of fresh.attributes) {
    if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  }
  for (const { name } of [...node.attributes]) {
    // Whether details are open is the reader's business.
    if (name !== "open" && !fresh.hasAttribute(name)) node.removeAttribute(name);
  }
}

// Makes a node like another, with as few changes as there are differences.
function patch(node, fresh) {
  if (node.nodeType !== Node.ELEMENT_NODE) {
    if (node.nodeValue !== fresh.nodeValue) node.nodeValue = fresh.nodeValue;
    return;
  }
  // Buttons are ours.
  if (node.nodeName === "BUTTON") return;
  attributes(node, fresh);
  const keyed = new Map();
  for (const child of node.childNodes) if (key(child) !== null) keyed.set(key(child), child);
  let at = node.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const name = key(wanted);
    let child = name === null ? at : keyed.get(name);
    if (child && alike(child, wanted)) {
      if (child === at) at = at.nextSibling;
      else node.insertBefore(child, at);
      patch(child, wanted);
    } else {
      node.insertBefore(document.importNode(wanted, true), at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function buttons() {
  for (const button of document.querySelectorAll("button.copy[hidden]")) button.hidden = false;
}

async function refresh() {
  clearTimeout(timer);
  if (asking) asking.abort();
  asking = null;
  if (document.hidden || paused) return;
  const controller = new AbortController();
  asking = controller;
  const patience = setTimeout(() => controller.abort(), PATIENCE);
  try {
    const answer = await fetch(location.href, { cache: "no-store", signal: controller.signal });
    // What was asked for makes no sense: the page says so.
    if (answer.status === 400) return location.reload();
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (asking !== controller) return;
    const focused = document.activeElement;
    for (const id of PARTS) {
      const [part, other] = [document.getElementById(id), fresh.getElementById(id)];
      if (part && other) patch(part, other);
    }
    // A row that moves loses it.
    if (focused.isConnected && focused !== document.activeElement) focused.focus({ preventScroll: true });
    if (document.title !== fresh.title) document.title = fresh.title;
    buttons();
    failed = false;
    tell("live", false);
  } catch {
    // Somebody else asks by now, or it has been paused.
    if (asking !== controller) return;
    failed = true;
    tell(`no answer; as of ${document.getElementById("now").textContent}`, true);
  } finally {
    clearTimeout(patience);
    if (asking === controller) {
      asking = null;
      timer = setTimeout(refresh, failed ? 2 * EVERY : EVERY);
    }
  }
}

pause.hidden = !form;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  if (paused) {
    clearTimeout(timer);
    if (asking) asking.abort();
    asking = null;
    tell("paused", false);
  } else {
    refresh();
  }
});

// Filters work while one types; the form is sent as ever without this script.
if (form) {
  let typing = 0;
  const apply = () => {
    const asked = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (value !== "") asked.append(name, value);
    const text = asked.toString();
    history.replaceState(null, "", text ? `./?${text}` : "./");
    paused = false;
    pause.setAttribute("aria-pressed", "false");
    refresh();
  };
  form.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(apply, 250);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typing);
    apply();
  });
}

async function copy(text) {
  // Only where the page came by a safe way; else the old one.
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (!copied) throw new Error("not copied");
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  const line = button.parentElement.querySelector("code");
  try {
    await copy(line.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(line);
    button.textContent = "Press Ctrl-C";
  }
  button.focus();
  setTimeout(() => (button.textContent = "Copy"), 2000);
});

// Without a form, it is the page that says what is wrong; that does not change.
if (form) {
  buttons();
  tell("live", false);
  timer = setTimeout(refresh, EVERY);
  document.addEventListener("visibilitychange", refresh);
}
