// Bars by day, with the same numbers for the keyboard and for screen readers.

import { h } from "./dom.js";

/**
 * @param {{key: string, value: number, words: string}[]} bars
 * @param {{label: string, unit: (value: number) => string, limit?: number|null, limitWords?: string}} options
 */
export function barChart(bars, options) {
  const width = 720, height = 220, top = 18, base = height - 24, left = 56;
  const highest = Math.max(...bars.map((bar) => bar.value), options.limit ?? 0, 1e-9);
  const y = (/** @type {number} */ value) => base - ((base - top) * value) / highest;
  const slot = (width - left) / Math.max(bars.length, 1);
  const svg = h("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `${options.label}; arrow keys go from one to the next` });
  for (const part of [0, 0.5, 1]) {
    const value = highest * part;
    svg.append(h("line", { x1: left, x2: width, y1: y(value), y2: y(value) }),
      h("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, options.unit(value)));
  }
  if (options.limit) {
    svg.append(h("line", { class: "cap", x1: left, x2: width, y1: y(options.limit), y2: y(options.limit) }),
      h("text", { class: "capt", x: width, y: y(options.limit) - 5, "text-anchor": "end" }, options.limitWords));
  }
  const tip = h("div", { class: "tip", hidden: true });
  const groups = bars.map((bar, index) => {
    const x = left + slot * index + slot * 0.14;
    const show = () => {
      tip.textContent = bar.words;
      tip.hidden = false;
      tip.style.left = `${((x + slot * 0.36) / width) * 100}%`;
      tip.style.top = `${(y(bar.value) / height) * 100}%`;
    };
    const hide = () => (tip.hidden = true);
    const group = h("g", {
      role: "img", "aria-label": bar.words, tabindex: index === bars.length - 1 ? 0 : -1,
      onmouseenter: show, onmouseleave: hide, onfocus: show, onblur: hide,
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        const to = { ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: bars.length - 1 }[event.key];
        if (to === undefined || !groups[to]) return;
        event.preventDefault();
        groups[to].focus();
      },
    }, h("rect", { x, y: y(bar.value), width: slot * 0.72, height: Math.max(0, base - y(bar.value)), rx: 2 }));
    return group;
  });
  svg.append(...groups);
  const every = Math.max(1, Math.ceil(bars.length / 6));
  bars.forEach((bar, index) => {
    if (index % every === 0) svg.append(h("text", { x: left + slot * (index + 0.5), y: height - 6, "text-anchor": "middle" }, bar.key.slice(5)));
  });
  return h("figure", { class: "chart" }, svg, tip);
}

/**
 * @param {string} caption
 * @param {{name: string, kind?: string}[]} columns
 * @param {(Node|string)[][]} rows
 */
export function table(caption, columns, rows) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", { class: "sr" }, caption),
      h("thead", {}, h("tr", {}, columns.map((each) => h("th", { scope: "col", class: each.kind }, each.name)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, index) => h("td", { class: columns[index].kind }, cell)))))));
}
