// What makes the pages better where there are scripts. Each part is a function of its own; without any of them the pages still work.
"use strict";
(() => {
  const $ = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));
  const say = (text) => { const said = $("#said"); if (said) { said.textContent = ""; said.textContent = text; } };
  const typing = (element) => element.matches("input, textarea, select, [contenteditable]");

  // Times: relative words stay true while a page is open, and the local time is told beside UTC.
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  function lasting(seconds, parts) {
    const words = [];
    for (const [unit, size] of units) {
      const count = Math.floor(seconds / size);
      seconds -= count * size;
      if (count) words.push(`${count} ${unit}`); else if (words.length) break;
      if (words.length === parts) break;
    }
    return words.join(" ");
  }
  function relative(at, now) {
    const seconds = Math.floor(Math.abs(at - now) / 1000);
    if (seconds < 2) return "now";
    if (seconds >= 30 * 86400) return new Date(at).toISOString().slice(0, 10);
    return at > now ? `in ${lasting(seconds, 2)}` : `${lasting(seconds, 1)} ago`;
  }
  const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
  function times(within = document) {
    const now = Date.now();
    for (const time of all("time[datetime]", within)) {
      const at = Date.parse(time.dateTime);
      if (!time.dataset.local) {
        time.dataset.local = "1";
        time.title += `\n${clock.format(at)} (here)`;
      }
      if (!time.hasAttribute("data-exact")) time.textContent = relative(at, now);
    }
  }
  setInterval(() => { if (!document.hidden) times(); }, 5000);

  // Where one is stands in sight, in a rail that is longer than the screen.
  const here = $(".rail nav [aria-current]");
  if (here) here.scrollIntoView({ block: "nearest", inline: "center" });

  const view = $(".views nav [aria-current]");
  if (view) view.parentElement.scrollTo(view.offsetLeft - 40, view.offsetTop - 40);

  // What a part of a page could not be got for stands where one looks, until it can be got.
  function untrouble() { for (const told of all(".trouble")) told.remove(); }
  function trouble(text) {
    untrouble();
    const told = Object.assign(document.createElement("p"), { className: "trouble notice dead", textContent: text });
    told.setAttribute("role", "alert");
    ($("dialog[open]") || $("main")).prepend(told);
  }
  document.addEventListener("htmx:sendError", () => trouble("The server does not answer, and what is shown may be old. Look whether it runs."));
  document.addEventListener("htmx:responseError", (event) => {
    const said = $(".card p", new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html"));
    trouble(said ? said.textContent : `The server answered ${event.detail.xhr.status}. Try again in a moment.`);
  });
  document.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) untrouble(); });

  // Copying. Browsers have a clipboard for pages behind TLS and on loopback alone; others copy what is selected.
  function copySelected(text, beside) {
    const area = Object.assign(document.createElement("textarea"), { value: text, className: "visually-hidden" });
    // Beside the button: what a dialog does not hold cannot be selected while it is open.
    beside.after(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    beside.focus();
    if (!done) throw new Error("refused");
  }
  async function copy(button) {
    const source = button.dataset.copyFrom ? $(button.dataset.copyFrom) : null;
    const text = source ? source.textContent : button.dataset.copy;
    try {
      if (navigator.clipboard) await navigator.clipboard.writeText(text); else copySelected(text, button);
    } catch {
      say("Copying was not possible here");
      button.title = "Copying was not possible here: select the text instead";
      return;
    }
    button.classList.add("copied");
    say("Copied");
    setTimeout(() => button.classList.remove("copied"), 1500);
  }

  // The look: chosen at once, remembered for the next page.
  function theme(button) {
    const chosen = button.value;
    if (chosen) document.documentElement.dataset.theme = chosen; else delete document.documentElement.dataset.theme;
    document.cookie = `ringback_theme=${chosen}; path=/dashboard; max-age=${chosen ? 31536000 : 0}; samesite=lax${location.protocol === "https:" ? "; secure" : ""}`;
    for (const other of all("[name=theme]", button.form)) other.setAttribute("aria-pressed", String(other === button));
    document.dispatchEvent(new Event("themed"));
  }

  // The palette.
  const palette = $("#palette");
  function openPalette() {
    if (!palette || palette.open) return;
    const input = $("input", palette);
    palette.showModal();
    input.select();
    htmx.trigger(input, "open");
  }
  function choose(step) {
    const found = all(".results a", palette);
    if (!found.length) return;
    const at = found.findIndex((link) => link.getAttribute("aria-selected") === "true");
    const next = found[(at + step + found.length) % found.length];
    mark(found, next);
    next.scrollIntoView({ block: "nearest" });
  }
  function mark(found, chosen) {
    for (const link of found) link.setAttribute("aria-selected", String(link === chosen));
    if (chosen) $("input", palette).setAttribute("aria-activedescendant", chosen.id);
  }
  if (palette) {
    palette.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        choose(event.key === "ArrowDown" ? 1 : -1);
      } else if (event.key === "Enter" && typing(event.target)) {
        event.preventDefault();
        const chosen = $(".results a[aria-selected=true]", palette);
        if (chosen) chosen.click();
        else location.assign(`/dashboard/find?q=${encodeURIComponent(event.target.value)}`);
      }
    });
    palette.addEventListener("click", (event) => { if (event.target === palette) palette.close(); });
  }

  // The panel: a page beside the page. Its address is in the bar, so that it can be shared and loaded anew.
  const panel = $("#panel");
  const before = { title: document.title, focus: null };
  async function openPanel(link) {
    let page;
    try {
      const answer = await fetch(link.href, { headers: { "HX-Request": "true" }, redirect: "follow" });
      if (answer.headers.get("hx-refresh") || answer.redirected) { location.assign(link.href); return; }
      page = await answer.text();
    } catch {
      trouble("The server does not answer. Look whether it runs, and try again.");
      return;
    }
    untrouble();
    const fresh = !panel.open;
    if (fresh) before.focus = document.activeElement;
    panel.innerHTML = page;
    htmx.process(panel);
    settle(panel);
    if (fresh) {
      panel.showModal();
      history.pushState({ panel: true }, "", link.href);
    } else {
      history.replaceState({ panel: true }, "", link.href);
    }
    panel.scrollTop = 0;
    const first = $("[autofocus]", panel) || $("h1", panel);
    if (first) { if (!first.matches("input, button, a, select, textarea")) first.tabIndex = -1; first.focus(); }
  }
  if (panel) {
    const beside = () => Boolean(history.state && history.state.panel);
    const whole = beside();
    // Whether it closes because somebody went back: then the address is right already.
    let left = false;
    panel.addEventListener("close", () => {
      panel.replaceChildren();
      if (!left && beside()) history.back();
      left = false;
      if (before.focus && before.focus.isConnected) before.focus.focus();
    });
    panel.addEventListener("click", (event) => { if (event.target === panel && event.clientX < panel.getBoundingClientRect().left) panel.close(); });
    window.addEventListener("popstate", () => {
      if (panel.open) { left = true; panel.close(); }
      // Forward again, or back from there: the address is another page's than the one that is here.
      else if (beside() !== whole) location.reload();
    });
  }

  // Payloads: found words are marked and unfolded.
  function unmark(viewer) {
    for (const found of all("mark", viewer)) found.replaceWith(...found.childNodes);
    viewer.normalize();
  }
  function search(input) {
    const viewer = input.closest(".viewer");
    const tree = $(".json", viewer) || $("pre", viewer);
    const told = $(".found", viewer);
    unmark(tree);
    const wanted = input.value.toLowerCase();
    if (!wanted) { told.textContent = ""; return; }
    const walker = document.createTreeWalker(tree, NodeFilter.SHOW_TEXT);
    const hits = [];
    while (walker.nextNode() && hits.length < 500) {
      const text = walker.currentNode.data.toLowerCase();
      for (let at = text.indexOf(wanted); at >= 0 && hits.length < 500; at = text.indexOf(wanted, at + wanted.length)) hits.push([walker.currentNode, at]);
    }
    let first = null;
    // From the last to the first, so that the places before stay where they are.
    for (const [node, at] of hits.reverse()) {
      const range = document.createRange();
      range.setStart(node, at);
      range.setEnd(node, at + wanted.length);
      first = document.createElement("mark");
      range.surroundContents(first);
      for (let fold = first.closest("details"); fold && tree.contains(fold); fold = fold.parentElement.closest("details")) fold.open = true;
    }
    told.textContent = hits.length === 500 ? "500 or more" : `${hits.length} found`;
    if (first) first.scrollIntoView({ block: "nearest" });
  }

  // Regions that load themselves anew while somebody looks.
  function refresh(region) {
    const every = Number(region.dataset.refresh) * 1000;
    // What a timer asks for says so: it is no sign that somebody is there, and keeps no session alive.
    const look = (headers) => {
      const live = document.getElementById(region.id);
      if (!live || !live.isConnected) { clearInterval(timer); return; }
      // What has ended needs no more looks.
      if (!live.dataset.refresh) return;
      // Nobody is disturbed: not who is in it, has something in it unfolded or marked, or looks at something over it.
      const busy = live.contains(document.activeElement) || $("details[open]", live) || (panel && panel.open) || (palette && palette.open) || String(getSelection());
      if (!document.hidden && !busy) htmx.ajax("GET", live.dataset.from || location.href, { source: live, target: live, swap: "outerHTML", select: `#${live.id}`, headers });
    };
    const timer = setInterval(() => look({ "ringback-timer": "1" }), every);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) look({}); });
  }

  function settle(within) {
    times(within);
    for (const region of all("[data-refresh]", within)) {
      if (!refreshed.has(region.id)) { refreshed.add(region.id); refresh(region); }
    }
    for (const starter of starters) starter(within);
  }
  const refreshed = new Set();
  const starters = [];
  window.ringback = { $, all, say, settle, times, onSettle: (starter) => { starters.push(starter); starter(document); } };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button && button.matches("[data-copy], [data-copy-from]")) { event.preventDefault(); copy(button); return; }
    if (button && button.closest("[data-theme-form]")) { event.preventDefault(); theme(button); return; }
    if (button && button.matches("[data-shut]")) { panel.close(); return; }
    if (button && button.matches("[data-unfold]")) {
      for (const fold of all("details", button.closest(".viewer"))) fold.open = button.dataset.unfold === "all";
      return;
    }
    for (const menu of all("details[data-menu][open]")) if (!menu.contains(event.target)) menu.open = false;
    const link = event.target.closest("a");
    if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    if (link.matches("[data-palette]")) { event.preventDefault(); openPalette(); }
    else if (link.matches("[data-panel]") && panel) { event.preventDefault(); openPanel(link); }
  });
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "k") { event.preventDefault(); openPalette(); return; }
    if (event.key === "Escape") {
      for (const menu of all("details[data-menu][open]")) { menu.open = false; $("summary", menu).focus(); }
      return;
    }
    if (typing(event.target) || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.key === "/") { event.preventDefault(); ($(".filters input[type=search]") || $("[data-palette]")).focus(); if (!$(".filters input[type=search]")) openPalette(); return; }
    const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
    if (!step || (event.key.startsWith("Arrow") && !event.target.matches("a.open"))) return;
    const rows = all("a.open");
    if (!rows.length) return;
    event.preventDefault();
    const at = rows.indexOf(document.activeElement);
    rows[Math.min(Math.max(at + step, 0), rows.length - 1)].focus();
  });
  // Boxes of a list: all at once, and how many.
  document.addEventListener("change", (event) => {
    const form = event.target.closest("form[data-picks]");
    if (!form) return;
    const boxes = all("[name=id]", form);
    if (event.target.matches("[data-pick-all]")) for (const box of boxes) box.checked = event.target.checked;
    const number = boxes.filter((box) => box.checked).length;
    $("[data-picked]", form).textContent = number ? `${number} chosen` : "";
    const every = $("[data-pick-all]", form);
    if (every) { every.checked = number === boxes.length; every.indeterminate = number > 0 && number < boxes.length; }
  });
  // A file that is chosen goes into the field that it belongs to: it is sent like what was typed.
  document.addEventListener("change", async (event) => {
    const from = event.target;
    if (!from.matches("input[type=file][data-into]") || !from.files.length) return;
    const read = (file) => new Promise((resolve, reject) => {
      const reader = Object.assign(new FileReader(), { onload: () => resolve(reader.result), onerror: () => reject(reader.error) });
      reader.readAsDataURL(file);
    });
    document.getElementById(from.dataset.into).value = await (from.matches("[data-as-url]") ? read(from.files[0]) : from.files[0].text());
    say("The file was read");
  });
  document.addEventListener("input", (event) => { if (event.target.matches("[data-search]")) search(event.target); });
  // Filters apply as soon as something is chosen; the button stays for those without scripts.
  document.addEventListener("change", (event) => {
    const form = event.target.closest("form[data-filters]");
    if (form && event.target.matches("select, input[type=checkbox], input[type=date], input[type=datetime-local]")) form.requestSubmit();
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    // Empty fields stay out of the address.
    if (form.matches("form[data-filters]")) for (const field of all("input, select", form)) if (!field.value) field.disabled = true;
    // A second click is no second act.
    if (form.method === "post") setTimeout(() => { for (const button of all("button", form)) button.disabled = true; });
  });
  window.addEventListener("pageshow", () => { for (const field of all("form [disabled]:not([data-off])")) field.disabled = false; });
  // A form whose answer comes into the page can be sent again.
  document.addEventListener("htmx:afterRequest", (event) => { if (event.target.matches("form")) for (const button of all("button", event.target)) button.disabled = false; });
  // What is wrong in such a form comes with a status that htmx would not show.
  document.addEventListener("htmx:beforeSwap", (event) => { if (event.detail.xhr.status === 422) { event.detail.shouldSwap = true; event.detail.isError = false; } });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.target.id === "palette-results") { const found = all("a", event.target); mark(found, found[0]); }
    settle(document);
  });
  settle(document);
  // What is wrong in a form is what somebody goes on with.
  const wrong = $("[aria-invalid=true]");
  if (wrong) wrong.focus();
})();
