// The live tail: slices of lines come as events, and are put on top; the page never holds more than it can scroll well.
"use strict";
(() => {
  const { $, all, say } = window.ringback;
  const tail = $("#tail");
  if (!tail) return;
  const ROWS_MAX = 200;
  const rows = $("[data-rows]", tail);
  const state = $("[data-state]", tail);
  const counted = $("[data-count]", tail);
  const pause = $("[data-pause]");
  const number = new Intl.NumberFormat("en");
  let source = null, paused = false, seen = 0, skipped = 0, held = [], drawing = false;

  function tell(words, look) { state.textContent = words; tail.className = look; }
  function count() {
    const words = [`${number.format(seen)} seen`];
    if (skipped) words.push(`${number.format(skipped)} not shown`);
    counted.textContent = words.join(", ");
  }
  function take(html) {
    const piece = new DOMParser().parseFromString(html, "text/html").querySelector("tbody");
    const lines = Array.from(piece.rows);
    const all = Number(piece.dataset.seen);
    seen += all;
    skipped += all - lines.length;
    held.unshift(...lines);
    if (held.length > ROWS_MAX) { skipped += held.length - ROWS_MAX; held.length = ROWS_MAX; }
    if (paused) { count(); tell(`Paused; ${number.format(held.length)} wait`, "paused"); return; }
    if (!drawing) { drawing = true; requestAnimationFrame(draw); }
  }
  function draw() {
    drawing = false;
    if (!held.length) return;
    $("[data-empty]", tail).hidden = true;
    // Many at once come without a sign: only what can be followed is marked.
    if (held.length > 20) for (const line of held) line.classList.remove("new");
    const focused = document.activeElement;
    rows.prepend(...held);
    held = [];
    while (rows.rows.length > ROWS_MAX) { if (rows.lastElementChild.contains(focused)) break; rows.lastElementChild.remove(); }
    count();
  }
  function connect() {
    if (source || document.hidden) return;
    source = new EventSource(tail.dataset.events + location.search);
    source.onopen = () => tell(paused ? "Paused" : "Live", paused ? "paused" : "");
    source.onmessage = (event) => take(event.data);
    source.onerror = () => { tell("Cut off; trying again", "cut"); if (source.readyState === EventSource.CLOSED) { source = null; setTimeout(connect, 3000); } };
  }
  function disconnect() { if (source) { source.close(); source = null; tell("Not looking", "paused"); } }

  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
    tell(paused ? "Paused" : "Live", paused ? "paused" : "");
    say(paused ? "Paused" : "Live");
    if (!paused) draw();
  });
  $("[data-clear]").addEventListener("click", () => { rows.replaceChildren(); held = []; seen = skipped = 0; count(); });
  document.addEventListener("visibilitychange", () => document.hidden ? disconnect() : connect());
  window.addEventListener("pagehide", disconnect);
  window.addEventListener("pageshow", connect);
  connect();
})();
