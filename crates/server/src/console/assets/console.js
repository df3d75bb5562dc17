// Makes the pages lively. Everything works without it: it only listens to events, shows how far the run under way is, and asks
// for the page again when something has changed.
"use strict";

(() => {
  if (!document.body.dataset.live || !window.EventSource) return;

  const GATHER_MS = 400;
  const DETAILS_MS = 2500;
  const AGES_MS = 60000;
  let waiting = null;
  let waitingMs = 0;
  let asking = false;
  let again = false;

  // Puts what the server now shows in the place of the regions of this page.
  async function refresh() {
    if (asking) { again = true; return; }
    asking = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error", cache: "no-store" });
      if (answer.ok) take(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      // The service is away or the session has ended: the page stays as it was.
    }
    asking = false;
    if (again) { again = false; soon(); }
  }

  function take(page) {
    for (const fresh of page.querySelectorAll("[data-region]")) {
      const old = document.querySelector(`[data-region="${fresh.dataset.region}"]`);
      if (!old || old.innerHTML === fresh.innerHTML) continue;
      const focus = document.activeElement;
      const inside = old.contains(focus);
      // Nobody's writing is taken away.
      if (inside && focus.matches("input, select, textarea")) continue;
      const open = [...old.querySelectorAll("details")].map((it) => it.open);
      old.replaceChildren(...document.importNode(fresh, true).childNodes);
      old.querySelectorAll("details").forEach((it, place) => { it.open = Boolean(open[place]); });
      if (inside) focusAgain(old, focus);
    }
    const answer = document.querySelector(".answer");
    const fresh = page.querySelector(".answer");
    if (answer && fresh) answer.className = fresh.className;
    document.title = page.title;
  }

  // The keyboard stays where it was: at the same link or button, or else at the content. Never at another button, which a person
  // would then press unknowingly.
  function focusAgain(region, focus) {
    const same = [...region.querySelectorAll("a, button, summary")].find((it) =>
      it.tagName === focus.tagName && it.textContent === focus.textContent && it.getAttribute("href") === focus.getAttribute("href"));
    (same ?? document.querySelector("main")).focus({ preventScroll: true });
  }

  // Asks once for all that comes within this time.
  function soon(ms = GATHER_MS) {
    if (waiting !== null && waitingMs <= ms) return;
    clearTimeout(waiting);
    waitingMs = ms;
    waiting = setTimeout(() => { waiting = null; refresh(); }, ms);
  }

  // What this page shows of the run that an event is of.
  function each(event, what, act) {
    document.querySelectorAll(`[data-run="${CSS.escape(event.of)}"] ${what}`).forEach(act);
  }

  function size(bytes) {
    const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let unit = 0;
    while (bytes >= 1024 && unit + 1 < units.length) { bytes /= 1024; unit += 1; }
    return `${unit ? bytes.toFixed(1) : bytes} ${units[unit]}`;
  }

  function phaseBegan(event) {
    each(event, '[data-now="phase"]', (it) => { it.textContent = event.phase; });
    each(event, "[data-phase]", (it) => {
      if (it.hasAttribute("aria-current")) { it.removeAttribute("aria-current"); it.classList.add("done"); }
      if (it.dataset.phase === event.phase) it.setAttribute("aria-current", "step");
    });
    each(event, '[data-now="progress"]', (it) => { it.hidden = true; });
  }

  function progressed(event) {
    each(event, '[data-now="progress"]', (it) => {
      it.hidden = false;
      // What comes on top of what was counted before has no share.
      const known = event.total_bytes > 0 && event.bytes <= event.total_bytes;
      const share = known ? Math.min(100, event.bytes / event.total_bytes * 100) : 0;
      it.querySelector("svg").toggleAttribute("hidden", !known);
      it.querySelector(".fill").setAttribute("width", share.toFixed(1));
      const ofAll = known ? ` of ${size(event.total_bytes)}, ${share.toFixed(0)} %` : "";
      const who = event.component ? `${event.component}: ` : "";
      it.querySelector('[data-now="activity"]').textContent = `${who}${event.activity}, ${event.files} files, ${size(event.bytes)}${ofAll}`;
    });
  }

  // A browser allows few connections to one server, and keeps those of pages that were left, in case somebody comes back: a page
  // that nobody sees listens to nothing, and catches up when it is seen again.
  let events = null;

  function listen() {
    if (events) return;
    events = new EventSource("/api/v1/events");
    events.addEventListener("run", (told) => {
      const event = JSON.parse(told.data);
      switch (event.event) {
        case "progress": progressed(event); break;
        case "phase-started": phaseBegan(event); break;
        case "begun": case "over": case "run-ended": soon(); break;
        default: soon(DETAILS_MS);
      }
    });
    for (const topic of ["queue", "alert", "lagged"]) events.addEventListener(topic, () => soon());
    // What was told before anybody listened, or while the connection was away, is on the page that is asked for now.
    events.addEventListener("open", () => soon());
  }

  function listenNoMore() {
    if (events) events.close();
    events = null;
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { listenNoMore(); } else { listen(); }
  });
  addEventListener("pagehide", listenNoMore);
  addEventListener("pageshow", (event) => { if (event.persisted) listen(); });
  if (!document.hidden) listen();
  setInterval(() => { if (!document.hidden) refresh(); }, AGES_MS);
})();
