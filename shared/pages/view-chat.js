// Chat: conversations beside the one that is open.

import { button, h, icon } from "./dom.js";
import { get, remove } from "./api.js";
import { answerNode, ask, finishStep, parsed, question, receipt } from "./answer.js";
import { composer } from "./composer.js";
import { ago, day, money } from "./format.js";
import { markdown } from "./markdown.js";
import { confirm, drawer, fault, toast } from "./notice.js";
import { go } from "./router.js";
import { toolStep } from "./trace.js";

const PROMPTS = /** @type {[string, string][]} */ ([
  ["What is the current server time?", "calls a tool, free"],
  ["Draw a lighthouse at night", "makes a picture, paid"],
  ["Add milk to my list, then show it", "keeps a task"],
]);

/** @type {import("./router.js").View} */
export async function show(place, route) {
  const id = route.rest[0] ?? null;
  const title = h("h1", { class: "sr" }, "Chat");
  const log = h("div", { class: "log", tabindex: "0", role: "region", "aria-label": "Messages" }, title);
  const state = { id, log, running: /** @type {AbortController|null} */ (null), onState: (/** @type {boolean} */ _) => {} };
  const list = conversations(state, route.signal);
  const side = h("aside", { class: "side", "aria-label": "Conversations" },
    h("a", { class: "btn", href: "#/chat" }, icon("plus"), "New chat"), list.search, list.node);
  const writer = composer(state, (request) => ask(state, request).then(list.load));
  place.replaceChildren(h("section", { class: "chat", "aria-label": "Chat" }, side,
    h("div", { class: "talk" }, bar(side), log, writer)));
  list.load();
  if (id) await showOld(log, id, route.signal);
  else showEmpty(log, writer);
  route.signal.addEventListener("abort", () => state.running?.abort());
}

/** @param {HTMLElement} side */
function bar(side) {
  return h("div", { class: "bar" },
    button("", () => drawer(side, "Conversations"), { kind: "ghost", icon: "menu", name: "Conversations" }),
    h("b", {}, "Chat"), h("a", { class: "btn ghost", href: "#/chat", "aria-label": "New chat" }, icon("plus")));
}

/** @param {HTMLElement} log @param {HTMLFormElement} writer */
function showEmpty(log, writer) {
  log.append(h("div", { class: "empty first" }, h("h2", {}, "What shall the agent do?"),
    h("p", { class: "muted" }, "It answers, and calls tools for pictures, speech, video, tasks, and your connections."),
    h("div", { class: "prompts" }, PROMPTS.map(([text, what]) => h("button", {
      class: "prompt", type: "button",
      onclick: () => {
        const field = /** @type {HTMLTextAreaElement} */ (writer.querySelector("textarea"));
        field.value = text;
        writer.requestSubmit();
      },
    }, h("b", {}, text), h("span", {}, what))))));
}

/** @param {{id: string|null}} state @param {AbortSignal} signal */
function conversations(state, signal) {
  const node = h("div", { class: "talks" });
  const search = h("input", { class: "field", type: "search", placeholder: "Search loaded titles", "aria-label": "Search loaded titles" });
  /** @type {any[]} */
  let found = [];
  /** @type {string|null} */
  let cursor = null;

  /** @param {string|null} [from] */
  async function load(from = null) {
    try {
      const page = await get(`/conversations?limit=30${from ? `&cursor=${encodeURIComponent(from)}` : ""}`, signal);
      found = from ? [...found, ...page.conversations] : page.conversations;
      cursor = page.cursor;
      fill();
    } catch (error) {
      if (/** @type {any} */ (error).name !== "AbortError") node.replaceChildren(fault(error, { label: "Try again", act: () => load() }));
    }
  }

  function fill() {
    const wanted = search.value.trim().toLowerCase();
    const shown = found.filter((each) => (each.title ?? "").toLowerCase().includes(wanted));
    const days = [...new Set(shown.map((each) => day(each.updated_at ?? each.created_at)))];
    node.replaceChildren(...days.map((name) => h("section", {}, h("h2", {}, name),
      h("ul", {}, shown.filter((each) => day(each.updated_at ?? each.created_at) === name).map(row)))));
    if (!shown.length) node.append(h("p", { class: "muted small pad" }, found.length ? "No loaded title has that." : "No conversations yet."));
    if (cursor) node.append(button("Load older ones", () => load(cursor), { kind: "ghost" }));
  }

  /** @param {any} each */
  function row(each) {
    const name = each.title || "Conversation";
    return h("li", {}, h("a", { href: `#/chat/${each.id}`, "aria-current": each.id === state.id && "true", title: name },
      h("b", {}, name),
      h("span", {}, ago(each.updated_at ?? each.created_at), each.usage?.cost_usd != null && h("span", { class: "cost mono" }, money(each.usage.cost_usd)))),
    button("", async () => {
      if (!(await confirm("Delete this conversation?", `“${name}” is removed. Its media stay.`, "Delete"))) return;
      await remove(`/conversations/${each.id}`);
      toast("Deleted");
      if (each.id === state.id) go("#/chat");
      else load();
    }, { kind: "ghost icon", icon: "bin", name: `Delete ${name}` }));
  }

  search.addEventListener("input", fill);
  return { node, search, load: () => load() };
}

/** @param {HTMLElement} log @param {string} id @param {AbortSignal} signal */
async function showOld(log, id, signal) {
  try {
    const found = await get(`/conversations/${encodeURIComponent(id)}?limit=100`, signal);
    /** @type {ReturnType<typeof answerNode> | null} */
    let answer = null;
    /** @type {Map<string, ReturnType<typeof toolStep>>} */
    const calls = new Map();
    for (const message of found.messages) {
      if (message.role === "user") {
        log.append(question(message.parts ?? message.content));
        answer = null;
        continue;
      }
      if (!answer) {
        answer = answerNode();
        log.append(answer.node);
      }
      showMessage(answer, calls, message);
    }
    log.scrollTop = log.scrollHeight;
  } catch (error) {
    if (/** @type {any} */ (error).name !== "AbortError") log.append(fault(error, { label: "New chat", act: () => go("#/chat") }));
  }
}

/** @param {ReturnType<typeof answerNode>} answer @param {Map<string, ReturnType<typeof toolStep>>} calls @param {any} message */
function showMessage(answer, calls, message) {
  for (const call of message.tool_calls ?? []) {
    const step = toolStep({ name: call.name ?? "tool", arguments: parsed(call.arguments) });
    if (call.id) calls.set(call.id, step);
    answer.trace.append(step.node);
  }
  if (message.role === "tool") {
    const step = calls.get(message.tool_call_id) ?? toolStep({ name: message.name ?? "tool" });
    if (!step.node.parentNode) answer.trace.append(step.node);
    finishStep(answer, step, { ...message, result: message.result ?? message.content });
  } else if (message.content) {
    const text = String(message.content);
    answer.text.replaceChildren(...markdown(text));
    answer.foot.replaceChildren(message.incomplete
      ? h("p", { class: "muted" }, "Stopped here.")
      : receipt({ model: message.model, usage: message.usage }, null, () => text));
  }
}
