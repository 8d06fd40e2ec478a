// Keeps an open page up to date. The server sends no markup here: a hint makes the page fetch itself
// again, and the lines of a log become text nodes. Without this script every page still works.
"use strict";

const root = document.documentElement;
const link = document.getElementById("link");
const RETRY_MS = 2000;
// Between two looks when there is no place for another live page, or nobody answers.
const LOOK_MS = 15000;
// Logs whose end is shown first.
const ENDS = ".failing .log.last";
// A browser lets one site have few connections: a tab that nobody sees gives its own back.
let source = null;
// What is told of a change comes right after it.
const SETTLE_MS = 200;
let retry = 0;
let wait = RETRY_MS;
let busy = false;
// A part was left as it was, for somebody had marked its text.
let behind = false;
let again = false;
let later = 0;
// The server's clock against ours.
let ahead = Number(root.dataset.now) - Date.now();

function say(text) {
  if (link && link.textContent !== text) link.textContent = text;
}

// What a part of a page says, but for what a clock or a reader changes.
function said(part) {
  const copy = part.cloneNode(true);
  for (const it of copy.querySelectorAll(".elapsed, time.ago")) it.textContent = "";
  for (const it of copy.querySelectorAll("details")) it.open = false;
  return copy.innerHTML;
}

// Text that somebody marks, most likely to copy it.
function isSelected(part) {
  const selection = document.getSelection();
  return selection && !selection.isCollapsed && selection.containsNode(part, true);
}

// Takes over what differs, and leaves alone what a person is at.
function take(fresh) {
  for (const old of document.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(old.id);
    if (!now) { old.replaceChildren(); continue; }
    if (said(old) === said(now)) continue;
    if (isSelected(old)) { behind = true; continue; }
    const scrolls = [...old.querySelectorAll(".scroll, .log")].map((it) => [it.scrollLeft, it.scrollTop]);
    const opened = [...old.querySelectorAll("details")].map((it) => it.open);
    const at = old.contains(document.activeElement) ? document.activeElement : null;
    const place = at && (at.id ? "#" + CSS.escape(at.id)
      : at.getAttribute("href") ? '[href="' + CSS.escape(at.getAttribute("href")) + '"]'
      : at.getAttribute("aria-label") ? '[aria-label="' + CSS.escape(at.getAttribute("aria-label")) + '"]' : null);
    old.replaceChildren(...document.importNode(now, true).childNodes);
    [...old.querySelectorAll("details")].forEach((it, n) => { it.open = opened[n] ?? false; });
    [...old.querySelectorAll(".scroll, .log")].forEach((it, n) => {
      if (scrolls[n]) [it.scrollLeft, it.scrollTop] = scrolls[n];
      else if (it.matches(ENDS)) it.scrollTop = it.scrollHeight;
    });
    if (place) old.querySelector(place)?.focus({ preventScroll: true });
  }
  // Parts that are new, such as a repository that was never built before.
  const main = document.getElementById("main");
  let before = null;
  for (const now of fresh.getElementById("main").children) {
    const known = now.id ? document.getElementById(now.id) : null;
    if (known) before = known;
    else if (now.id && now.hasAttribute("data-live")) {
      const added = document.importNode(now, true);
      before ? before.after(added) : main.prepend(added);
      before = added;
    }
  }
  takeStatus(fresh.getElementById("status").textContent);
  takeLog(fresh.getElementById("log"));
  root.dataset.version = fresh.documentElement.dataset.version;
  ahead = Number(fresh.documentElement.dataset.now) - Date.now();
}

function takeStatus(status) {
  const shown = document.getElementById("status");
  // Only what is new is read aloud.
  if (shown.textContent !== status) shown.textContent = status;
}

// What is shown stays when the broker cannot be asked for this page; how it stands is known without.
async function takeNotices() {
  const answer = await fetch("/gates", { cache: "no-store" });
  if (!answer.ok) return;
  const fresh = parse(await answer.text());
  takeStatus(fresh.getElementById("status").textContent);
  document.getElementById("notices").replaceChildren(
    ...document.importNode(fresh.getElementById("notices"), true).childNodes);
}

function parse(text) {
  return new DOMParser().parseFromString(text, "text/html");
}

// Another attempt has another log. The one that is shown grows by itself.
function takeLog(now) {
  const old = document.getElementById("log");
  const asked = new URLSearchParams(location.search);
  if (!now || !old || asked.has("find") || asked.has("attempt")) return;
  if (old.dataset.epoch === now.dataset.epoch) return;
  old.replaceWith(document.importNode(now, true));
  showFollow();
  connect();
}

// Says whether the server answers.
async function refresh() {
  if (busy) { again = true; return true; }
  busy = true;
  let there = true;
  try {
    const answer = await fetch(location.pathname + location.search, { cache: "no-store" });
    if (answer.ok) take(parse(await answer.text()));
    else {
      await takeNotices();
      // What changed is not told a second time.
      clearTimeout(later);
      later = setTimeout(refresh, LOOK_MS);
    }
  } catch {
    there = false;
  }
  busy = false;
  if (again) { again = false; refresh(); }
  return there;
}

const LINES_KEPT = 5000;

function addLines(lines) {
  const log = document.getElementById("lines");
  if (!log) return;
  const more = document.createDocumentFragment();
  for (const line of lines) {
    const row = document.createElement("div");
    if (line.mark) {
      row.className = "mark";
      row.textContent = "[… " + line.text + " …]";
    } else {
      if (line.drv) {
        const drv = document.createElement("span");
        drv.className = "drv";
        drv.textContent = line.drv + "> ";
        row.append(drv);
      }
      row.append(line.text);
    }
    more.append(row);
  }
  log.append(more);
  while (log.childElementCount > LINES_KEPT) log.firstElementChild.remove();
  log.parentElement.querySelector(".quiet")?.remove();
  toEnd();
}

// What went wrong stands at the end of a log. One that grows no more has no box to check.
function toEnd() {
  const log = document.getElementById("lines");
  const follow = document.getElementById("follow");
  if (log && (!follow || follow.checked)) log.scrollTop = log.scrollHeight;
}

function showFollow() {
  const follow = document.querySelector("#log .follow");
  if (follow) follow.hidden = false;
  toEnd();
}

function address() {
  const asked = new URLSearchParams({ shows: root.dataset.shows, shown: root.dataset.version });
  const log = document.getElementById("log");
  if (log && log.dataset.job) {
    asked.set("job", log.dataset.job);
    asked.set("epoch", log.dataset.epoch);
    asked.set("from", log.dataset.from);
  }
  return "/live?" + asked;
}

function disconnect() {
  clearTimeout(retry);
  source?.close();
  source = null;
}

function connect() {
  disconnect();
  if (document.hidden || !root.dataset.version) return;
  const mine = new EventSource(address());
  source = mine;
  // The first word of a server that has a place for us.
  mine.addEventListener("standing", (event) => {
    wait = RETRY_MS;
    say("");
    takeStatus(event.data);
  });
  mine.addEventListener("full", () => {
    say("Too many pages are open; this one looks again every " + LOOK_MS / 1000 + " s.");
    disconnect();
    retry = setTimeout(() => { refresh(); connect(); }, LOOK_MS);
  });
  mine.addEventListener("changed", () => setTimeout(refresh, SETTLE_MS));
  mine.addEventListener("log", (event) => {
    // Where to go on if another connection is needed.
    const log = document.getElementById("log");
    if (log) log.dataset.from = event.lastEventId;
    addLines(JSON.parse(event.data));
  });
  mine.addEventListener("error", async () => {
    // A browser gives up by itself on some errors; we do not.
    disconnect();
    retry = setTimeout(connect, wait);
    wait = Math.min(wait * 2, LOOK_MS);
    // A connection ends for many reasons: whether the server is there, it says itself.
    if (!await refresh()) say("This page has lost its server. It tries again.");
  });
}

function clock(seconds) {
  const two = (n) => String(n).padStart(2, "0");
  const h = Math.floor(seconds / 3600);
  const m = Math.floor(seconds / 60) % 60;
  return (h ? h + ":" + two(m) : m) + ":" + two(seconds % 60);
}

function coarse(seconds) {
  if (seconds < 60) return seconds + " s";
  if (seconds < 3600) return Math.floor(seconds / 60) + " min";
  if (seconds < 172800) return Math.floor(seconds / 3600) + " h";
  return Math.floor(seconds / 86400) + " d";
}

function tick() {
  const past = (at) => Math.max(0, Math.floor((Date.now() + ahead - at) / 1000));
  const put = (it, text) => { if (it.textContent !== text) it.textContent = text; };
  for (const it of document.querySelectorAll(".elapsed")) put(it, clock(past(Number(it.dataset.since))));
  for (const it of document.querySelectorAll("time.ago")) put(it, coarse(past(Date.parse(it.dateTime))) + " ago");
}

setInterval(tick, 1000);
document.addEventListener("visibilitychange", connect);
document.addEventListener("selectionchange", () => {
  if (!behind || !document.getSelection()?.isCollapsed) return;
  behind = false;
  refresh();
});
for (const it of document.querySelectorAll(ENDS)) it.scrollTop = it.scrollHeight;
showFollow();
connect();
