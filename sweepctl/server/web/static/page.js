// Follows what a page shows, in place: scroll, focus, selection and what is open stay as they are.
//
// <body data-events="ADDRESS">     the stream that says when to fetch the page again
// <body data-every="5">            fetched again so often (in seconds), where there is no stream
// <a data-in-place>, <form data-in-place>   the page that they lead to takes this one's place
// <… data-part="ADDRESS">          a part of the page that is fetched when it comes into sight;
//                                  `data-version` says which one it is
// Whoever needs to act on a new part listens for "part" and "page" on the document.
"use strict";

const NOTED = new Set(["data-loaded", "data-seen", "aria-busy"]);
const QUIET_MS = 500; // between two fetches of the page, at least; more where the page is slow
let underWay = null;
let lastMs = 0;

function parsed(text) {
  const page = new DOMParser().parseFromString(text, "text/html");
  // Without scripts these would be shown: here they only would be loaded.
  for (const each of page.querySelectorAll("noscript")) each.textContent = "";
  return page;
}

// --- from what is there to what is wanted, with as few changes as possible ---

function keyOf(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.dataset.key || node.id || "" : "";
}

function isAlike(have, want) {
  return have.nodeType === want.nodeType && have.nodeName === want.nodeName
    && keyOf(have) === keyOf(want);
}

function syncAttributes(have, want) {
  for (const { name, value } of want.attributes) {
    if (have.getAttribute(name) !== value) have.setAttribute(name, value);
  }
  for (const { name } of [...have.attributes]) {
    // What the reader has opened stays open, and what this script has noted stays noted.
    if (want.hasAttribute(name) || NOTED.has(name)) continue;
    if (name === "open" && have.nodeName === "DETAILS") continue;
    have.removeAttribute(name);
  }
}

function sync(have, want) {
  if (have.nodeType !== Node.ELEMENT_NODE) {
    if (have.nodeValue !== want.nodeValue) have.nodeValue = want.nodeValue;
    return;
  }
  if (have.nodeName === "NOSCRIPT" || have.hasAttribute("data-kept")) return;
  if (have.dataset.part !== undefined) {
    syncAttributes(have, want);
    load(have);
    return;
  }
  if (have.isEqualNode(want)) return;
  syncAttributes(have, want);
  const keyed = new Map();
  for (const child of have.childNodes) if (keyOf(child)) keyed.set(keyOf(child), child);
  let at = have.firstChild;
  for (const wanted of [...want.childNodes]) {
    const key = keyOf(wanted);
    let found = key ? keyed.get(key) : at;
    if (!key) while (found && keyOf(found)) found = found.nextSibling;
    if (!found || !isAlike(found, wanted)) {
      have.insertBefore(document.importNode(wanted, true), at);
      continue;
    }
    if (found === at) at = at.nextSibling;
    else have.insertBefore(found, at);
    sync(found, wanted);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function take(page, { isNew = false } = {}) {
  const focused = document.activeElement;
  const at = [window.scrollX, window.scrollY];
  const place = focused && focused.selectionStart !== undefined && focused.type !== "hidden"
    ? [focused.selectionStart, focused.selectionEnd] : null;
  document.title = page.title;
  for (const { name, value } of page.body.attributes) document.body.setAttribute(name, value);
  for (const name of ["header", "main"]) {
    const have = document.querySelector(name), want = page.querySelector(name);
    if (have && want) sync(have, want);
  }
  if (isNew) asInPage();
  if (focused && focused !== document.activeElement && focused.isConnected) {
    focused.focus({ preventScroll: true });
    try { if (place) focused.setSelectionRange(...place); } catch { /* it holds no text */ }
  }
  window.scrollTo(...at);
  watchParts();
  document.dispatchEvent(new CustomEvent("page", { detail: { isNew } }));
}

// Shows in every field what the page has there: another page took this one's place.
function asInPage() {
  for (const field of document.querySelectorAll("input, select, textarea")) {
    if (field.closest("[data-part], [data-kept]")) continue;
    if (field.type === "checkbox" || field.type === "radio") field.checked = field.defaultChecked;
    else if (field.nodeName === "SELECT") {
      const chosen = [...field.options].findIndex((each) => each.defaultSelected);
      field.selectedIndex = Math.max(0, chosen);
    } else if (field.type !== "hidden") field.value = field.defaultValue;
  }
}

// --- fetching the page again ---

async function fetchPage(address, options) {
  if (underWay) underWay.abort();
  const own = underWay = new AbortController();
  const began = performance.now();
  try {
    const answer = await fetch(address, {
      headers: { Accept: "text/html" }, signal: own.signal, credentials: "same-origin",
    });
    const kind = answer.headers.get("Content-Type") || "";
    // The login has ended, or the page is gone: the browser shows what the server says.
    if (answer.status === 401) return location.assign(address);
    if (!kind.startsWith("text/html") || answer.status >= 500) return false;
    take(parsed(await answer.text()), options);
    lastMs = performance.now() - began;
    return true;
  } catch {
    return false; // another fetch took its place, or the server is away: its stream comes again
  } finally {
    if (underWay === own) underWay = null;
  }
}

async function goTo(address, { keepsHistory = false } = {}) {
  if (keepsHistory) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  if (!await fetchPage(address, { isNew: true }) && underWay === null) location.assign(address);
}

let renewTimer = null;

function renew() {
  if (renewTimer !== null) return;
  renewTimer = setTimeout(async () => {
    renewTimer = null;
    if (underWay) return renew();
    await fetchPage(location.href);
  }, Math.max(QUIET_MS, 4 * lastMs));
}

// --- the stream of events ---

let stream = null;
let streamTimer = null;
let seen = null;

function follow() {
  clearTimeout(streamTimer);
  const address = document.body.dataset.events;
  // A page of what has ended is followed as well: a run may be tried again.
  // A tab that nobody sees holds no connection: a browser has six for all tabs of a server.
  if (!address || document.hidden) {
    if (stream) stream.close();
    stream = null;
    return;
  }
  if (stream) return;
  const since = seen || document.body.dataset.shows || "";
  stream = new EventSource(`${address}?since=${encodeURIComponent(since)}`);
  stream.addEventListener("changed", (event) => {
    seen = event.data;
    renew();
  });
  stream.addEventListener("error", () => {
    // A stream that was refused does not come again by itself.
    if (stream && stream.readyState === EventSource.CLOSED) {
      stream = null;
      streamTimer = setTimeout(follow, 30000);
    }
  });
}

document.addEventListener("visibilitychange", follow);
window.addEventListener("pagehide", () => { if (stream) stream.close(); stream = null; });
window.addEventListener("pageshow", follow);

// --- parts that are fetched when they come into sight ---

const sight = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    entry.target.toggleAttribute("data-seen", entry.isIntersecting);
    if (entry.isIntersecting) load(entry.target);
  }
}, { rootMargin: "300px" });

async function load(part) {
  const wanted = `${part.dataset.part} ${part.dataset.version || ""}`;
  if (!part.matches("[data-seen]") || part.dataset.loaded === wanted) return;
  part.dataset.loaded = wanted;
  part.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(part.dataset.part, { headers: { Accept: "text/html" } });
    if (part.dataset.loaded !== wanted) return;
    const had = part.offsetHeight;
    if (!answer.ok) throw new Error(`${answer.status}`);
    const open = [...part.querySelectorAll("details")].map((each) => each.open);
    const page = parsed(await answer.text());
    const body = page.querySelector("[data-body]");
    if (had) part.style.minHeight = `${had}px`; // nothing below it jumps
    part.replaceChildren(...body.children);
    part.style.minHeight = "";
    // It costs much to draw, and is not drawn anew for every run that ends.
    if (isOlder(body.dataset.shows, part.dataset.version)) {
      setTimeout(() => { delete part.dataset.loaded; load(part); }, 5000);
    }
    part.querySelectorAll("details").forEach((each, at) => { if (open[at]) each.open = true; });
    part.dispatchEvent(new CustomEvent("part", { bubbles: true }));
  } catch (error) {
    if (part.dataset.loaded === wanted) delete part.dataset.loaded;
    if (!part.querySelector("figure")) part.textContent = `not loaded (${error.message})`;
  } finally {
    part.removeAttribute("aria-busy");
  }
}

function isOlder(one, other) {
  const [start, at] = (one || "").split("."), [begun, wanted] = (other || "").split(".");
  return start === begun && Number(at) < Number(wanted);
}

function watchParts() {
  for (const part of document.querySelectorAll("[data-part]")) sight.observe(part);
}

// --- links and forms that change what this page shows ---

document.addEventListener("click", (event) => {
  const link = event.target.closest && event.target.closest("a[data-in-place]");
  if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey
    || event.shiftKey || event.altKey) return;
  event.preventDefault();
  goTo(link.href);
});

// What an address asks before it acts is asked by its page; what can be undone is done at once.
document.addEventListener("click", async (event) => {
  const link = event.target.closest && event.target.closest("a[data-act]");
  if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey
    || event.shiftKey || event.altKey) return;
  event.preventDefault();
  try {
    const asked = await fetch(link.href, { headers: { Accept: "text/html" } });
    const form = parsed(await asked.text()).querySelector("main form[method=post]");
    if (!asked.ok || !form) return location.assign(link.href);
    const action = new URL(form.getAttribute("action"), link.href);
    const answer = await fetch(action, {
      method: "POST", headers: { Accept: "text/html" }, body: new URLSearchParams(new FormData(form)),
    });
    if (!answer.ok || answer.url.split("?")[0] !== location.href.split(/[?#]/)[0]) {
      return location.assign(answer.redirected ? answer.url : link.href);
    }
    await fetchPage(location.href);
  } catch {
    location.assign(link.href);
  }
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("form[data-in-place]") || event.defaultPrevented) return;
  event.preventDefault();
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (value !== "") query.append(name, value);
  const text = query.toString();
  goTo(location.pathname + (text ? `?${text}` : ""));
});

document.addEventListener("change", (event) => {
  const form = event.target.form;
  if (event.target.matches("[data-at-once]") && form) form.requestSubmit();
});

window.addEventListener("popstate", () => fetchPage(location.href, { isNew: true }));

if (document.body.dataset.every) {
  setInterval(() => { if (!document.hidden) renew(); }, 1000 * document.body.dataset.every);
}
// --- what is too wide for a narrow screen scrolls, also by the keyboard ---

const own = new WeakSet(); // others have a tabindex of the page's

function reachScrollers() {
  for (const each of document.querySelectorAll(".scroll, figure.sf")) {
    if (each.hasAttribute("tabindex") && !own.has(each)) continue;
    const isReached = [...each.querySelectorAll("a, button, input, select, summary")]
      .some((inner) => inner.tabIndex >= 0);
    if (each.scrollWidth > each.clientWidth && !isReached) {
      own.add(each);
      each.tabIndex = 0;
    } else each.removeAttribute("tabindex");
  }
}

for (const kind of ["page", "part"]) document.addEventListener(kind, reachScrollers);
window.addEventListener("resize", reachScrollers);
reachScrollers();
window.sweepctl = { goTo };
watchParts();
follow();
