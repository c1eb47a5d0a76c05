// Draws the charts: times from left to right, from zero up, the number under the pointer beside each name.
"use strict";
(() => {
  const { all, onSettle } = window.ringback;
  const drawn = new Map();
  // Pixels, the line that names the time zone included.
  const HEIGHT = 196;
  const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

  // The colours of the style sheet, as they are in this look.
  function colour(name) {
    const probe = document.createElement("span");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }
  const names = { 1: "accent-fill", ok: "ok-fill", retry: "retry-fill", dead: "dead-fill", wait: "wait" };
  function words(value, unit) {
    if (value === null || value === undefined) return "–";
    if (unit !== "ms") return whole.format(value);
    return value >= 1000 ? `${whole.format(value / 1000)} s` : `${whole.format(value)} ms`;
  }
  function short(value, unit) {
    if (unit === "ms") return value >= 1000 ? `${whole.format(value / 1000)} s` : `${whole.format(value)} ms`;
    return value >= 1e6 ? `${whole.format(value / 1e6)} M` : value >= 1e3 ? `${whole.format(value / 1e3)} k` : whole.format(value);
  }
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
  const zone = clock.resolvedOptions().timeZone;
  // Midnight is told by its day: no second line is needed to know which one it is.
  function when(ticks, step) {
    return ticks.map((tick) => { const at = new Date(tick * 1000); return step >= 86400 || (at.getHours() === 0 && at.getMinutes() === 0) ? day.format(at) : clock.format(at); });
  }
  function draw(plot) {
    const data = JSON.parse(plot.dataset.chart);
    const figure = plot.closest("figure");
    const keys = all("[data-key]", figure);
    const text = colour("muted"), line = colour("border");
    const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    plot.replaceChildren();
    const width = () => Math.max(plot.clientWidth, 120);
    const chart = new uPlot({
      width: width(), height: HEIGHT, padding: [8, 20, 0, 0], legend: { show: false }, tzDate: (at) => new Date(at * 1000),
      cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
      scales: { y: { range: (_, low, high) => [0, Math.max(high * 1.1, data.unit === "ms" ? 10 : 4)] } },
      axes: [{ ...axis, grid: { show: false }, space: 60, size: 28, label: `time in ${zone}`, labelSize: 16, labelGap: -4, labelFont: axis.font, values: (_, ticks, __, ___, step) => when(ticks, step) }, { ...axis, size: 52, values: (_, ticks) => ticks.map((tick) => short(tick, data.unit)), incrs: data.unit === "count" ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 1e7] : undefined }],
      series: [{}, ...data.names.map((name, n) => {
        const stroke = colour(names[data.colours[n]]);
        return { label: name, stroke, width: 1.75, points: { show: data.values[n].filter((value) => value !== null).length < 16, size: 5, fill: stroke }, fill: data.names.length < 3 ? stroke.replace("rgb(", "rgba(").replace(")", ", 0.1)") : undefined };
      })],
      hooks: { setCursor: [(chart) => keys.forEach((key, n) => {
        const at = chart.cursor.idx;
        key.textContent = at === null || at === undefined ? key.dataset.now : words(data.values[n][at], data.unit);
      })] },
    }, [data.times, ...data.values], plot);
    const watch = new ResizeObserver(() => chart.setSize({ width: width(), height: HEIGHT }));
    watch.observe(plot);
    return { chart, watch };
  }
  function forget(plot) {
    const known = drawn.get(plot);
    if (known) { known.watch.disconnect(); known.chart.destroy(); drawn.delete(plot); }
  }
  function redraw() {
    for (const plot of Array.from(drawn.keys())) { forget(plot); if (plot.isConnected) drawn.set(plot, draw(plot)); }
  }
  onSettle((within) => {
    for (const plot of Array.from(drawn.keys())) if (!plot.isConnected) forget(plot);
    for (const plot of all("[data-chart]", within)) if (!drawn.has(plot)) drawn.set(plot, draw(plot));
  });
  document.addEventListener("themed", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
})();
