// The trace: tool calls, tests and attempts on one rail.

import { h } from "./dom.js";
import { duration, gist, money } from "./format.js";
import { jsonBlock } from "./code.js";

/**
 * A tool call on the rail, which changes as it goes on.
 * @param {{name: string, arguments?: unknown}} call
 */
export function toolStep(call) {
  const what = h("span", { class: "arg" }, gist(call.arguments));
  const cost = h("span", { class: "num" }, "");
  const took = h("span", { class: "num" }, "");
  const inside = h("div", {}, h("h4", {}, "Arguments"), jsonBlock(call.arguments ?? {}));
  const bar = h("progress", { "aria-label": call.name, hidden: true });
  const node = h("details", { class: "run" },
    h("summary", {}, h("code", {}, call.name), what, cost, took), bar, inside);
  return {
    node,
    prompt: /** @type {any} */ (call.arguments)?.prompt,
    /** @param {{progress: number, total: number|null, message: string|null}} event */
    progress(event) {
      bar.hidden = false;
      if (event.total) {
        bar.max = event.total;
        bar.value = event.progress;
      }
      if (event.message) what.textContent = event.message;
    },
    /** @param {{result: any, is_error: boolean, duration_ms?: number, cost_usd?: number|null}} event */
    finish(event) {
      bar.hidden = true;
      node.classList.replace("run", event.is_error ? "bad" : "done");
      took.textContent = event.is_error ? "failed" : duration(event.duration_ms);
      if (event.cost_usd != null) {
        cost.textContent = money(event.cost_usd);
        cost.classList.add("cost");
      }
      if (event.is_error) {
        node.open = true;
        what.textContent = gist(event.result);
        what.classList.add("danger");
      } else {
        what.textContent = gist(call.arguments);
      }
      inside.append(h("h4", {}, "Result"), jsonBlock(event.result));
    },
  };
}

/**
 * A line on the rail: of a test, or of an attempt.
 * @param {string} name @param {string} what
 * @param {"run"|"done"|"bad"} state @param {number} [milliseconds]
 */
export function step(name, what, state, milliseconds) {
  const word = { run: "…", done: "ok", bad: "failed" }[state];
  return h("div", { class: `step ${state}` }, h("code", {}, name),
    h("span", { class: `arg ${state === "bad" ? "danger" : ""}` }, what),
    h("span", { class: `num ${state === "done" ? "ok" : ""}` }, word),
    h("span", { class: "num" }, duration(milliseconds)));
}
