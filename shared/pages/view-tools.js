// Tools: each with a form, its result, and the calls that do the same.

import { button, h } from "./dom.js";
import { get, send } from "./api.js";
import { codeBlock, jsonBlock } from "./code.js";
import { confirm, drawer, fault, loading } from "./notice.js";
import { duration, money } from "./format.js";
import { jobCard, mediaCard, mediaIn } from "./media-card.js";
import { schemaForm } from "./schema-form.js";
import { toolCalls } from "./snippets.js";

const MANY_PICTURES = 4;

/** @typedef {"curl"|"Python"|"JavaScript"|"MCP"} Language */
const LANGUAGES = /** @type {Language[]} */ (["curl", "Python", "JavaScript", "MCP"]);

/** The language of the examples that was chosen last. @type {Language} */
let language = "curl";

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
    const side = h("aside", { class: "side", "aria-label": "All tools" }, search, list);
    return h("div", { class: "split" }, side, h("div", { class: "page" }, tool(current, side, route.query)));
  });
}

/** @param {any} described @param {HTMLElement} side @param {URLSearchParams} given values of fields */
function tool(described, side, given) {
  const form = schemaForm(described.inputSchema, Object.fromEntries(given));
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
    const { properties, required = [] } = described.inputSchema;
    for (const name of required) {
      const text = /_id$|images/.test(name) ? "ID" : "An example";
      values[name] ??= properties[name].type === "array" ? [text] : text;
    }
    const calls = toolCalls(location.origin, described.name, values);
    for (const each of choices) each.setAttribute("aria-pressed", String(each.textContent === language));
    examples.replaceChildren(codeBlock(language === "MCP" ? "MCP over HTTP" : language, calls[language]));
  };
  const choices = LANGUAGES.map((each) => h("button", {
    type: "button",
    onclick: () => {
      language = each;
      showExamples();
    },
  }, each));
  const node = h("form", {
    oninput: showExamples, onchange: showExamples,
    onsubmit: async (/** @type {Event} */ event) => {
      event.preventDefault();
      await call(described, form, result, run);
    },
  }, form.node, h("div", { class: "row" }, run));
  showExamples();
  return h("div", {},
    h("div", { class: "head" }, h("h1", {}, described.title ?? described.name),
      button("All tools", () => drawer(side, "Tools"), { kind: "narrow", icon: "menu" })),
    h("p", { class: "muted pre" }, described.description),
    h("div", { class: "two" }, h("div", { class: "panel" }, node, result),
      h("div", { class: "panel" }, h("h2", {}, "The same call elsewhere"),
        h("div", { class: "seg", role: "group", "aria-label": "Language" }, choices), examples)));
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
    const isJob = answer.status && answer.id && "progress" in answer;
    result.replaceChildren(
      h("div", { class: "grid" }, mediaIn(answer).map((media) => mediaCard({ model: answer.model, ...media, prompt: media.prompt ?? values.prompt ?? values.text })),
        isJob && jobCard({ prompt: values.prompt, ...answer })),
      isJob && h("a", { class: "btn", href: "#/media?kind=video" }, "Watch it in Media"),
      h("div", { class: "receipt" }, h("span", {}, described.name), cost && h("span", { class: "cost" }, money(Number(cost))),
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
    if (described.paid) dispatchEvent(new Event("spent"));
    run.disabled = false;
    run.textContent = label;
  }
}
