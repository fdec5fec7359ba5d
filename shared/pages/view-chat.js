// Chat: conversations, answers as they come with what tools did, and the composer.

import { announce, button, h, icon, onceAFrame } from "./dom.js";
import { ApiError, chat, get, remove, send } from "./api.js";
import { copy } from "./code.js";
import { ago, duration, money, number } from "./format.js";
import { markdown } from "./markdown.js";
import { mediaCard, mediaIn } from "./media-card.js";
import { confirm, fault, toast } from "./notice.js";
import { go } from "./router.js";
import { session } from "./session.js";
import { toolStep } from "./trace.js";
import { loadTools } from "./view-tools.js";

const MAX_FILE_BYTES = 95 * 1024 * 1024;
const PROMPTS = ["What time is it on the server?", "Draw a lighthouse at night", "Add milk to my list, then show it"];

/** @type {Map<string, string>} Drafts by conversation. */
const drafts = new Map();

/** @type {import("./router.js").View} */
export async function show(place, route) {
  const id = route.rest[0] ?? null;
  const log = h("div", { class: "log", tabindex: "0", role: "region", "aria-label": "Messages" });
  const title = h("h1", { class: "sr" }, "Chat");
  log.append(title);
  const state = { id, log, running: /** @type {AbortController|null} */ (null), files: /** @type {any[]} */ ([]) };
  const list = h("div", { class: "talks" });
  const search = h("input", { class: "field", type: "search", placeholder: "Search loaded titles", "aria-label": "Search conversations" });
  const side = h("aside", { class: "side", "aria-label": "Conversations" },
    h("a", { class: "btn", href: "#/chat" }, icon("plus"), "New chat"), search, list);
  place.replaceChildren(h("section", { class: "chat", "aria-label": "Chat" }, side,
    h("div", { class: "talk" }, bar(side), log, composer(state, () => fillList(list, search, id, route.signal)))));
  fillList(list, search, id, route.signal);
  if (!id) showEmpty(log);
  else await showOld(log, id, route.signal);
  route.signal.addEventListener("abort", () => state.running?.abort());
}

/** @param {HTMLElement} side */
function bar(side) {
  return h("div", { class: "bar" },
    button("", () => side.classList.toggle("open"), { kind: "ghost", icon: "menu", name: "Conversations" }),
    h("b", {}, "Chat"), h("a", { class: "btn ghost", href: "#/chat", "aria-label": "New chat" }, icon("plus")));
}

/** @param {HTMLElement} log */
function showEmpty(log) {
  log.append(h("div", { class: "empty" }, h("p", {}, "Ask something, or try one of these:"),
    PROMPTS.map((text) => button(text, () => {
      const field = /** @type {HTMLTextAreaElement} */ (document.querySelector(".composer textarea"));
      field.value = text;
      field.form?.requestSubmit();
    }))));
}

/** @param {HTMLElement} list @param {HTMLInputElement} search @param {string|null} id @param {AbortSignal} signal */
async function fillList(list, search, id, signal) {
  /** @type {any[]} */
  let found = [];
  try {
    found = (await get("/conversations?limit=30", signal)).conversations;
  } catch (error) {
    if (/** @type {any} */ (error).name !== "AbortError") list.replaceChildren(fault(error));
    return;
  }
  const fill = () => list.replaceChildren(h("ul", {}, found
    .filter((each) => (each.title ?? "").toLowerCase().includes(search.value.toLowerCase()))
    .map((each) => h("li", {}, h("a", { href: `#/chat/${each.id}`, "aria-current": each.id === id && "true" },
      h("b", {}, each.title || "Conversation"),
      h("span", {}, ago(each.updated_at ?? each.created_at), each.usage?.cost_usd != null && h("span", { class: "cost mono" }, money(each.usage.cost_usd)))),
    button("", async () => {
      if (!(await confirm("Delete this conversation?", "Its media stay.", "Delete"))) return;
      await remove(`/conversations/${each.id}`);
      toast("Deleted");
      if (each.id === id) go("#/chat");
      else fillList(list, search, id, signal);
    }, { kind: "ghost icon", icon: "bin", name: `Delete ${each.title || "the conversation"}` })))));
  search.oninput = fill;
  fill();
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
        log.append(yours(message.content));
        answer = null;
        continue;
      }
      if (!answer) {
        answer = answerNode();
        log.append(answer.node);
      }
      for (const call of message.tool_calls ?? []) {
        const step = toolStep({ name: call.name ?? call.function?.name ?? "tool", arguments: parsed(call.arguments ?? call.function?.arguments) });
        if (call.id) calls.set(call.id, step);
        answer.trace.append(step.node);
        if ("result" in call) finish(answer, step, call);
      }
      if (message.role === "tool") {
        const step = calls.get(message.tool_call_id) ?? toolStep({ name: message.name ?? "tool" });
        if (!step.node.isConnected) answer.trace.append(step.node);
        finish(answer, step, { result: message.result ?? message.content, is_error: Boolean(message.is_error) });
      } else if (message.content) {
        answer.text.replaceChildren(...markdown(String(message.content)));
      }
    }
    log.scrollTop = log.scrollHeight;
  } catch (error) {
    if (/** @type {any} */ (error).name !== "AbortError") log.append(fault(error, { label: "New chat", act: () => go("#/chat") }));
  }
}

/** @param {unknown} content */
function yours(content) {
  return h("div", { class: "you" }, h("p", {}, typeof content === "string" ? content : JSON.stringify(content)));
}

function answerNode() {
  const trace = h("div", { class: "trace" });
  const text = h("div", { class: "text" });
  const media = h("div", { class: "grid" });
  const receipt = h("div", {});
  const node = h("article", { class: "answer", "aria-label": "Answer" }, trace, text, media, receipt);
  return { node, trace, text, media, receipt };
}

/** What JSON text says; other text, and what is no text, as it is. @param {any} value */
function parsed(value) {
  if (typeof value !== "string") return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

/** @param {ReturnType<typeof answerNode>} answer @param {ReturnType<typeof toolStep>} step @param {any} event */
function finish(answer, step, event) {
  const result = parsed(event.result);
  step.finish({ ...event, result });
  for (const each of mediaIn(result)) answer.media.append(mediaCard({ ...each, prompt: each.prompt ?? step.prompt }));
}

/** @param {any} state @param {() => void} onAnswered */
function composer(state, onAnswered) {
  const draftOf = state.id ?? "new";
  const field = h("textarea", { rows: 1, "aria-label": "Message", placeholder: "Message, or drop a picture, clip or video" });
  field.value = drafts.get(draftOf) ?? "";
  const grow = () => {
    field.style.height = "";
    if (field.value) field.style.height = `${Math.min(field.scrollHeight, 200)}px`;
    drafts.set(draftOf, field.value);
  };
  field.addEventListener("input", grow);
  const chips = h("div", { class: "chips" });
  const model = h("input", { class: "field", "aria-label": "Model", placeholder: "model: default", list: "models" });
  const models = h("datalist", { id: "models" });
  model.addEventListener("focus", async () => {
    const found = await get("/v1/models").catch(() => ({ data: [] }));
    models.replaceChildren(...found.data.map((/** @type {any} */ each) => h("option", { value: each.id })));
  }, { once: true });
  const tools = toolPicker();
  const input = h("input", { type: "file", accept: "image/*,audio/*,video/*", hidden: true, multiple: true });
  const attach = (/** @type {Iterable<File>} */ files) => {
    for (const file of files) upload(file, state.files, chips);
  };
  input.addEventListener("change", () => {
    attach(input.files);
    input.value = "";
  });
  const act = button("Send", () => {}, { kind: "primary push", icon: "send", type: "submit" });
  const form = h("form", {
    class: "composer",
    onsubmit: (/** @type {Event} */ event) => {
      event.preventDefault();
      if (state.running) {
        state.running.abort();
        return;
      }
      const text = field.value.trim();
      if (!text) return;
      field.value = "";
      grow();
      ask(state, compose(text, state.files, chips), { model: model.value.trim(), tools: tools.read() }, act).then(onAnswered);
    },
    ondragover: (/** @type {DragEvent} */ event) => event.preventDefault(),
    ondrop: (/** @type {DragEvent} */ event) => {
      event.preventDefault();
      attach(event.dataTransfer?.files ?? []);
    },
    onpaste: (/** @type {ClipboardEvent} */ event) => attach(event.clipboardData?.files ?? []),
    onkeydown: (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.target === field) {
        event.preventDefault();
        if (!state.running) form.requestSubmit();
      } else if (event.key === "Escape" && state.running) {
        state.running.abort();
      }
    },
  },
  session.config.provider === "stand-in" && h("p", { class: "small muted" }, "A stand-in answers here, not a model. Set OPENAI_API_KEY to ask a model."),
  chips, field, h("div", { class: "row" },
    button("", () => input.click(), { kind: "ghost icon", icon: "clip", name: "Attach a file" }), input, model, models, tools.node, act));
  setTimeout(() => field.focus(), 0);
  return form;
}

function toolPicker() {
  const place = h("div", { class: "menu-body" }, h("p", { class: "muted" }, "Loading …"));
  const label = h("summary", { class: "btn ghost" }, "All tools", icon("down"));
  const node = h("details", { class: "menu" }, label, place);
  /** @type {HTMLInputElement[]} */
  let boxes = [];
  node.addEventListener("toggle", async () => {
    const tools = await loadTools(new AbortController().signal);
    boxes = tools.map((tool) => h("input", { type: "checkbox", value: tool.name, checked: true }));
    place.replaceChildren(...tools.map((tool, index) => h("label", { class: "check" }, boxes[index], h("code", {}, tool.name), tool.paid && h("span", { class: "cost" }, "paid"))));
    place.addEventListener("change", () => {
      const count = boxes.filter((each) => each.checked).length;
      label.firstChild.textContent = count === boxes.length ? "All tools" : `${count} tools`;
    });
  }, { once: true });
  const read = () => {
    const chosen = boxes.filter((each) => each.checked).map((each) => each.value);
    if (chosen.length === boxes.length) return undefined;
    return chosen.length ? chosen : "none";
  };
  return { node, read };
}

/** @param {File} file @param {any[]} files @param {HTMLElement} chips */
async function upload(file, files, chips) {
  const word = h("span", {}, file.name || "pasted file");
  const progress = h("progress", { "aria-label": `Upload of ${file.name}` });
  const entry = { id: "", kind: file.type.split("/")[0] };
  const chip = h("span", { class: "chip" }, word, progress, button("", () => {
    files.splice(files.indexOf(entry), 1);
    chip.remove();
  }, { kind: "ghost icon", icon: "cross", name: `Remove ${file.name}` }));
  chips.append(chip);
  if (file.size > MAX_FILE_BYTES) {
    word.textContent = `${file.name} has more than 95 MiB`;
    return;
  }
  files.push(entry);
  try {
    const stored = await (await send("POST", "/media", { body: file, headers: { "Content-Type": file.type || "application/octet-stream" } })).json();
    entry.id = stored.id;
    progress.remove();
  } catch (error) {
    files.splice(files.indexOf(entry), 1);
    word.textContent = /** @type {any} */ (error).message;
    progress.remove();
  }
}

/** @param {string} text @param {any[]} files @param {HTMLElement} chips */
function compose(text, files, chips) {
  const named = files.filter((each) => each.id).map((each) => `${each.kind}: media://${each.id}`);
  files.length = 0;
  chips.replaceChildren();
  return named.length ? `${text}\n\nAttached media by id: ${named.join(", ")}` : text;
}

/** @param {any} state @param {string} text @param {{model: string, tools: unknown}} options @param {HTMLButtonElement} act */
async function ask(state, text, options, act) {
  const { log } = state;
  log.querySelector(".empty")?.remove();
  const answer = answerNode();
  answer.node.setAttribute("aria-busy", "true");
  answer.text.classList.add("caret");
  log.append(yours(text), answer.node);
  const follow = () => {
    if (log.scrollHeight - log.scrollTop - log.clientHeight < 160) log.scrollTop = log.scrollHeight;
  };
  log.scrollTop = log.scrollHeight;
  const stop = new AbortController();
  state.running = stop;
  act.lastChild.textContent = "Stop";
  act.classList.replace("primary", "stop");
  const started = performance.now();
  let written = "";
  /** @type {Map<string, ReturnType<typeof toolStep>>} */
  const steps = new Map();
  const paint = onceAFrame(() => {
    answer.text.replaceChildren(...markdown(written));
    follow();
  });
  const again = () => {
    answer.node.previousElementSibling?.remove();
    answer.node.remove();
    ask(state, text, options, act);
  };
  try {
    const body = { message: text, conversation_id: state.id ?? undefined, model: options.model || undefined, tools: options.tools, stream: true };
    for await (const event of chat(body, stop.signal)) {
      if (event.type === "chat.created") {
        if (!state.id) history.replaceState(null, "", `#/chat/${event.conversation_id}`);
        state.id = event.conversation_id;
      } else if (event.type === "chat.delta") {
        written += event.text;
        paint();
      } else if (event.type === "chat.tool_call") {
        const step = toolStep(event);
        steps.set(event.id, step);
        answer.trace.append(step.node);
        announce(`Calling ${event.name}`);
        follow();
      } else if (event.type === "chat.tool_progress") {
        steps.get(event.id)?.progress(event);
      } else if (event.type === "chat.tool_result") {
        const step = steps.get(event.id);
        if (step) finish(answer, step, event);
        follow();
      } else if (event.type === "chat.error") {
        throw new ApiError(0, event);
      } else if (event.type === "chat.completed") {
        written = event.answer ?? written;
        answer.receipt.replaceChildren(receipt(event, performance.now() - started, () => written, again));
      }
    }
    announce("Answer ready");
  } catch (error) {
    const isStopped = /** @type {any} */ (error).name === "AbortError";
    for (const step of steps.values()) step.node.classList.remove("run");
    answer.receipt.replaceChildren(isStopped
      ? h("div", { class: "row" }, h("span", { class: "muted" }, "Stopped here."), button("Ask again", again))
      : fault(error, { label: "Ask again", act: again }));
  } finally {
    answer.text.replaceChildren(...markdown(written));
    answer.text.classList.remove("caret");
    answer.node.removeAttribute("aria-busy");
    state.running = null;
    act.lastChild.textContent = "Send";
    act.classList.replace("stop", "primary");
    follow();
  }
}

/** @param {any} event @param {number} took @param {() => string} text @param {() => void} again */
function receipt(event, took, text, again) {
  const usage = event.usage ?? {};
  return h("div", { class: "receipt" }, h("span", {}, event.model ?? ""),
    h("span", {}, event.turns === 1 ? "1 round" : `${event.turns} rounds`),
    h("span", {}, `${number(usage.prompt_tokens)} in · ${number(usage.completion_tokens)} out`),
    "cost_usd" in usage && h("span", { class: "cost" }, money(usage.cost_usd)),
    h("span", {}, duration(took)),
    h("span", { class: "acts" },
      button("", async () => {
        await copy(text());
        toast("Copied");
      }, { kind: "ghost", icon: "copy", name: "Copy answer" }),
      button("", again, { kind: "ghost", icon: "again", name: "Ask again" })));
}
