// Bars or a line by day, with the same numbers for the keyboard and for screen readers.

import { h } from "./dom.js";

const HEIGHT = 220, TOP = 18, BASE = HEIGHT - 24, LEFT = 64, RIGHT = 4;
const LABEL_PIXELS = 76;

/**
 * @param {{key: string, value: number, words: string}[]} points
 * @param {{label: string, unit: (value: number) => string, kind?: "bar"|"line", limit?: number|null, limitWords?: string}} options
 */
export function dayChart(points, options) {
  const svg = h("svg", { role: "group", "aria-label": `${options.label}; arrow keys go from one to the next` });
  const tip = h("div", { class: "tip", hidden: true });
  const node = h("figure", { class: "chart" }, svg, tip);
  let drawn = 0;
  // Drawn in the pixels that there are, so that the text keeps its size on a phone.
  new ResizeObserver(([entry]) => {
    const width = Math.round(entry.contentRect.width);
    if (width && width !== drawn) draw(svg, tip, points, options, (drawn = width));
  }).observe(node);
  return node;
}

/** @param {any} svg @param {HTMLElement} tip @param {any[]} points @param {any} options @param {number} width */
function draw(svg, tip, points, options, width) {
  const highest = Math.max(...points.map((point) => point.value), options.limit ?? 0) || 1;
  const y = (/** @type {number} */ value) => BASE - ((BASE - TOP) * value) / highest;
  const slot = (width - LEFT - RIGHT) / Math.max(points.length, 1);
  const middle = (/** @type {number} */ index) => LEFT + slot * (index + 0.5);
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  svg.replaceChildren(...[0, 0.5, 1].flatMap((part) => [
    h("line", { x1: LEFT, x2: width, y1: y(highest * part), y2: y(highest * part) }),
    h("text", { x: LEFT - 8, y: y(highest * part) + 4, "text-anchor": "end" }, options.unit(highest * part))]));
  const marks = points.map((point, index) => {
    const show = () => {
      tip.textContent = point.words;
      tip.hidden = false;
      const half = tip.offsetWidth / 2;
      tip.style.left = `${Math.min(Math.max(middle(index), half), width - half)}px`;
      tip.style.top = `${Math.max(y(point.value) - 4, tip.offsetHeight)}px`;
    };
    const hide = () => (tip.hidden = true);
    const bar = options.kind === "line"
      ? h("circle", { cx: middle(index), cy: y(point.value), r: 3 })
      : h("rect", { x: LEFT + slot * (index + 0.14), y: y(point.value), width: slot * 0.72, height: Math.max(0, BASE - y(point.value)), rx: 2 });
    return h("g", {
      role: "img", "aria-label": point.words, tabindex: index === points.length - 1 ? 0 : -1,
      onmouseenter: show, onmouseleave: hide, onfocus: show, onblur: hide,
      onkeydown: (/** @type {KeyboardEvent} */ event) => move(event, marks, index),
    }, h("rect", { class: "hit", x: LEFT + slot * index, y: TOP, width: slot, height: BASE - TOP }), bar);
  });
  if (options.kind === "line") {
    const d = points.map((point, index) => `${index ? "L" : "M"}${middle(index)} ${y(point.value)}`).join("");
    svg.append(h("path", { d }));
  }
  svg.append(...marks);
  if (options.limit) {
    svg.append(h("line", { class: "cap", x1: LEFT, x2: width, y1: y(options.limit), y2: y(options.limit) }),
      h("text", { class: "capt", x: width, y: y(options.limit) - 5, "text-anchor": "end" }, options.limitWords));
  }
  const every = Math.max(1, Math.ceil((points.length * LABEL_PIXELS) / width));
  points.forEach((point, index) => {
    if ((points.length - 1 - index) % every) return;
    const text = new Date(`${point.key}T00:00Z`).toLocaleDateString("en", { day: "numeric", month: "short", timeZone: "UTC" });
    const isLast = index === points.length - 1;
    svg.append(h("text", { x: isLast ? width : middle(index), y: HEIGHT - 6, "text-anchor": isLast ? "end" : "middle" }, text));
  });
}

/** @param {KeyboardEvent} event @param {any[]} marks @param {number} index */
function move(event, marks, index) {
  const to = { ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: marks.length - 1 }[event.key];
  if (to === undefined || !marks[to]) return;
  event.preventDefault();
  marks[index].setAttribute("tabindex", "-1");
  marks[to].setAttribute("tabindex", "0");
  marks[to].focus();
}

/**
 * Chart or the same numbers as a table, by choice.
 * @param {string} title @param {HTMLElement} chart @param {HTMLElement} numbers
 */
export function chartPanel(title, chart, numbers) {
  numbers.hidden = true;
  const choose = (/** @type {boolean} */ isTable) => {
    chart.hidden = isTable;
    numbers.hidden = !isTable;
    asChart.setAttribute("aria-pressed", String(!isTable));
    asTable.setAttribute("aria-pressed", String(isTable));
  };
  const asChart = h("button", { type: "button", "aria-pressed": "true", onclick: () => choose(false) }, "Chart");
  const asTable = h("button", { type: "button", "aria-pressed": "false", onclick: () => choose(true) }, "Table");
  return h("div", { class: "panel" }, h("div", { class: "row" }, h("h2", {}, title),
    h("div", { class: "seg push", role: "group", "aria-label": `${title}: show as` }, asChart, asTable)), chart, numbers);
}

/**
 * @param {string} caption
 * @param {{name: string, kind?: string}[]} columns
 * @param {any[][]} rows
 */
export function table(caption, columns, rows) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", { class: "sr" }, caption),
      h("thead", {}, h("tr", {}, columns.map((each) => h("th", { scope: "col", class: each.kind }, each.name)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, index) => h("td", { class: columns[index].kind }, cell)))))));
}
