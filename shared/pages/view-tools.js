// Tools: each with a form, its result, and the calls that do the same.

import { button, h } from "./dom.js";
import { get, send } from "./api.js";
import { codeBlock, jsonBlock } from "./code.js";
import { confirm, fault, loading } from "./notice.js";
import { duration } from "./format.js";
import { mediaCard, mediaIn } from "./media-card.js";
import { schemaForm } from "./schema-form.js";
import { toolCalls } from "./snippets.js";

const MANY_PICTURES = 4;

/** @type {any[] | null} */
let known = null;

/** @param {AbortSignal} signal */
export async function loadTools(signal) {
  known = known ?? (await get("/tools", signal)).tools;
  return /** @type {any[]} */ (known);
}

/** @type {import("./router.js").View} */
export function show(place, route) {
  return loading(place, async () => {
    const tools = await loadTools(route.signal);
    const current = tools.find((tool) => tool.name === route.rest[0]) ?? tools[0];
    const search = h("input", { class: "field", type: "search", placeholder: "Search tools", "aria-label": "Search tools" });
    const list = h("nav", { class: "list", "aria-label": "Tools" });
    const fill = () => list.replaceChildren(...tools
      .filter((tool) => `${tool.name} ${tool.title} ${tool.description}`.toLowerCase().includes(search.value.toLowerCase()))
      .map((tool) => h("a", { href: `#/tools/${tool.name}`, "aria-current": tool === current && "true" },
        h("code", {}, tool.name), tool.paid && h("span", { class: "cost" }, "paid"))));
    search.addEventListener("input", fill);
    fill();
    return h("div", { class: "split" }, h("aside", { class: "side" }, search, list), h("div", { class: "page" }, tool(current)));
  });
}

/** @param {any} described */
function tool(described) {
  const form = schemaForm(described.inputSchema);
  const result = h("div", { class: "result", "aria-live": "polite" });
  const examples = h("div", {});
  const run = button(described.paid ? "Run · paid" : "Run", () => {}, { kind: "primary", type: "submit" });
  const showExamples = () => {
    /** @type {Record<string, unknown>} */
    let values = {};
    try {
      values = form.read();
    } catch {
      return;
    }
    const calls = Object.entries(toolCalls(location.origin, described.name, values));
    examples.replaceChildren(...calls.map(([language, text], index) =>
      h("details", { open: index === 0 }, h("summary", {}, language), codeBlock(language, text))));
  };
  const node = h("form", {
    oninput: showExamples,
    onsubmit: async (/** @type {Event} */ event) => {
      event.preventDefault();
      await call(described, form, result, run);
    },
  }, form.node, h("div", { class: "row" }, run));
  showExamples();
  return h("div", {},
    h("div", { class: "head" }, h("h1", {}, described.title ?? described.name)),
    h("p", { class: "muted pre" }, described.description),
    h("div", { class: "two" }, h("div", { class: "panel" }, node, result),
      h("div", { class: "panel" }, h("h2", {}, "The same call elsewhere"), examples)));
}

/** @param {any} described @param {any} form @param {HTMLElement} result @param {HTMLButtonElement} run */
async function call(described, form, result, run) {
  let values;
  try {
    values = form.read();
  } catch {
    result.replaceChildren(fault(new Error("A field holds no valid JSON.")));
    return;
  }
  form.complain([]);
  if (described.paid && (described.name.includes("video") || Number(values.n) > MANY_PICTURES)) {
    if (!(await confirm("Run this tool?", "It costs more than most calls.", "Run · paid"))) return;
  }
  const stop = new AbortController();
  const started = performance.now();
  const label = run.textContent;
  run.disabled = true;
  run.textContent = "Running …";
  result.replaceChildren(h("div", { class: "row" }, h("span", { class: "muted" }, "Waiting for the result …"),
    button("Stop waiting", () => stop.abort(), { kind: "stop" })));
  try {
    // One key for each click: what is paid for goes on, and is in Media, if the browser goes away.
    const headers = { "Idempotency-Key": crypto.randomUUID() };
    const response = await send("POST", `/tools/${described.name}`, { json: values, headers, signal: stop.signal });
    const answer = await response.json();
    const cost = response.headers.get("x-cost-usd");
    result.replaceChildren(
      h("div", { class: "grid" }, mediaIn(answer).map((media) => mediaCard(media))),
      h("div", { class: "receipt" }, h("span", {}, described.name), cost && h("span", { class: "cost" }, `$${cost}`),
        h("span", {}, duration(performance.now() - started))),
      h("details", { open: !mediaIn(answer).length }, h("summary", {}, "Result"), jsonBlock(answer)));
  } catch (error) {
    if (/** @type {any} */ (error).name === "AbortError") {
      result.replaceChildren(h("p", { class: "muted" }, "Not waited for any longer. What it makes will be in Media."));
    } else {
      form.complain(/** @type {any} */ (error).fields ?? []);
      result.replaceChildren(fault(error));
    }
  } finally {
    run.disabled = false;
    run.textContent = label;
  }
}
