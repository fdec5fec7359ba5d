// One question and its answer: what tools did, the text as it comes, media, and the receipt.

import { announce, button, h, onceAFrame } from "./dom.js";
import { ApiError, chat } from "./api.js";
import { copy } from "./code.js";
import { duration, money, number } from "./format.js";
import { liveMarkdown, markdown } from "./markdown.js";
import { mediaCard, mediaIn } from "./media-card.js";
import { countdown, fault, toast } from "./notice.js";
import { session } from "./session.js";
import { toolStep } from "./trace.js";

const NEAR_END_PIXELS = 160;

/** @typedef {ReturnType<typeof answerNode>} Answer */

export function answerNode() {
  const trace = h("div", { class: "trace" });
  const text = h("div", { class: "text" });
  const media = h("div", { class: "grid" });
  const foot = h("div", {});
  const node = h("article", { class: "answer", "aria-label": "Answer" }, trace, text, media, foot);
  return { node, trace, text, media, foot };
}

/** What the caller said: text, or parts. @param {any} content */
export function question(content) {
  const parts = Array.isArray(content) ? content : [{ type: "text", text: String(content ?? "") }];
  return h("div", { class: "you" }, h("div", {}, parts.map((part) => {
    if (part.type === "text") return h("p", {}, part.text);
    const name = part.media_id ?? part.url ?? "";
    const kind = part.type === "image" ? "Picture" : "File";
    return h("p", { class: "part" }, `${kind} `, part.media_id ? h("a", { href: `#/media/${part.media_id}` }, `…${name.slice(-8)}`) : name);
  })));
}

/** Shows what a tool gave. @param {Answer} answer @param {ReturnType<typeof toolStep>} step @param {any} event */
export function finishStep(answer, step, event) {
  const result = parsed(event.result);
  step.finish({ ...event, result });
  for (const each of mediaIn(result)) {
    answer.media.append(mediaCard({ model: result.model, cost_usd: event.cost_usd, ...each, prompt: each.prompt ?? step.prompt }));
  }
}

/** What JSON text says; other text, and what is no text, as it is. @param {any} value */
export function parsed(value) {
  if (typeof value !== "string") return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

/**
 * Sends a question and shows its answer as it comes.
 * @param {{id: string|null, log: HTMLElement, running: AbortController|null, onState: (isRunning: boolean) => void}} state
 * @param {{message: any, model?: string, tools?: unknown}} request
 * @param {boolean} [isRepeat]
 */
export async function ask(state, request, isRepeat = false) {
  const { log } = state;
  log.querySelector(".empty")?.remove();
  const answer = answerNode();
  answer.node.setAttribute("aria-busy", "true");
  answer.text.classList.add("caret");
  log.append(question(request.message), answer.node);
  const follow = followed(log);
  log.scrollTop = log.scrollHeight;
  state.running = new AbortController();
  state.onState(true);
  const started = performance.now();
  const live = liveMarkdown(answer.text);
  /** @type {Map<string, ReturnType<typeof toolStep>>} */
  const steps = new Map();
  let written = "";
  const paint = onceAFrame(() => {
    if (state.running) live(written);
    follow();
  });
  const again = (/** @type {boolean} */ repeat = false) => {
    answer.node.previousElementSibling?.remove();
    answer.node.remove();
    return ask(state, request, repeat);
  };
  try {
    const body = { ...request, conversation_id: state.id ?? undefined, stream: true };
    for await (const event of chat(body, state.running.signal)) {
      if (event.type === "chat.created") {
        if (!state.id) history.replaceState(null, "", `#/chat/${event.conversation_id}`);
        state.id = event.conversation_id;
      } else if (event.type === "chat.delta") {
        written += event.text;
        paint();
      } else if (event.type === "chat.completed") {
        written = event.answer ?? written;
        answer.foot.replaceChildren(receipt(event, performance.now() - started, () => written, () => again()));
      } else if (event.type === "chat.error") {
        throw new ApiError(0, event);
      } else {
        showTool(answer, steps, event);
        follow();
      }
    }
    announce("Answer ready");
  } catch (error) {
    for (const step of steps.values()) step.node.classList.remove("run");
    answer.foot.replaceChildren(failure(/** @type {any} */ (error), isRepeat, again));
  } finally {
    state.running = null;
    answer.text.classList.remove("caret");
    answer.text.replaceChildren(...markdown(written));
    answer.node.removeAttribute("aria-busy");
    state.onState(false);
    dispatchEvent(new Event("spent"));
    follow();
  }
}

/** @param {Answer} answer @param {Map<string, ReturnType<typeof toolStep>>} steps @param {any} event */
function showTool(answer, steps, event) {
  if (event.type === "chat.tool_call") {
    const step = toolStep(event);
    steps.set(event.id, step);
    answer.trace.append(step.node);
    announce(`Calling ${event.name}`);
  } else if (event.type === "chat.tool_progress") {
    steps.get(event.id)?.progress(event);
  } else if (event.type === "chat.tool_result") {
    const step = steps.get(event.id);
    if (step) finishStep(answer, step, event);
  }
}

/** Keeps the end in sight while the reader is there; else offers to go there. @param {HTMLElement} log */
function followed(log) {
  const newest = button("↓ Newest", () => {
    log.scrollTop = log.scrollHeight;
  }, { kind: "newest" });
  newest.hidden = true;
  log.parentElement?.querySelector(".newest")?.remove();
  log.after(newest);
  let isThere = true;
  log.onscroll = () => {
    isThere = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_END_PIXELS;
    newest.hidden = isThere;
  };
  return () => {
    if (isThere) log.scrollTop = log.scrollHeight;
    else newest.hidden = false;
  };
}

/** @param {any} error @param {boolean} isRepeat @param {(isRepeat?: boolean) => void} again */
function failure(error, isRepeat, again) {
  if (error.name === "AbortError") {
    return h("div", { class: "row" }, h("span", { class: "muted" }, "Stopped here."), button("Ask again", () => again()));
  }
  if (error.code === "quota_exceeded") return spentLimit(error);
  const node = fault(error, { label: "Ask again", act: () => again() });
  if (error.code === "conflict" && error.retryAfter && !isRepeat) {
    node.querySelector("p").textContent = "This conversation is being answered elsewhere.";
    countdown(/** @type {any} */ (node.querySelector("button")), error.retryAfter, () => again(true));
  } else if (error.code === "rate_limited" && error.retryAfter) {
    countdown(/** @type {any} */ (node.querySelector("button")), error.retryAfter);
  }
  return node;
}

/** @param {any} error */
function spentLimit(error) {
  const ends = error.retryAfter && new Date(Date.now() + error.retryAfter * 1000);
  return h("div", { class: "quota", role: "alert" }, h("p", {}, error.message),
    ends && h("p", { class: "small" }, `Again from ${ends.toISOString().slice(0, 16).replace("T", " ")} UTC, here ${ends.toLocaleString()}.`),
    h("a", { class: "btn", href: "#/usage" }, "See usage and limits"));
}

/** @param {any} event @param {number|null} took @param {() => string} text @param {() => void} [again] */
export function receipt(event, took, text, again) {
  const usage = event.usage ?? {};
  return h("div", { class: "receipt" }, h("span", {}, event.model ?? ""),
    event.turns && h("span", {}, event.turns === 1 ? "1 round" : `${event.turns} rounds`),
    usage.prompt_tokens != null && h("span", {}, `${number(usage.prompt_tokens)} in · ${number(usage.completion_tokens)} out`),
    "cost_usd" in usage && h("span", { class: "cost" }, money(usage.cost_usd)),
    took != null && h("span", {}, duration(took)),
    h("span", { class: "acts" },
      button("", async () => {
        await copy(text());
        toast("Copied");
      }, { kind: "ghost", icon: "copy", name: "Copy answer" }),
      again && session.me && button("", again, { kind: "ghost", icon: "again", name: "Ask again" })));
}
