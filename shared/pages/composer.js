// Where questions are written: text, files by drop, paste or choice, the model, the tools.

import { button, h, icon } from "./dom.js";
import { get, upload } from "./api.js";
import { session } from "./session.js";
import { loadTools } from "./view-tools.js";

const MAX_FILE_BYTES = 95 * 1024 * 1024;
const MAX_HEIGHT = 200;
const ACCEPTED = /^(image|audio|video)\/|^application\/pdf$/;

/** @type {Map<string, string>} Drafts by conversation. */
const drafts = new Map();

/** What was chosen last stays chosen. @type {{model: string, tools: Set<string>|null}} */
const chosen = { model: "", tools: null };

/**
 * @param {{id: string|null, running: AbortController|null, onState: (isRunning: boolean) => void}} state
 * @param {(request: {message: any, model?: string, tools?: unknown}) => void} onAsk
 */
export function composer(state, onAsk) {
  const draftOf = state.id ?? "new";
  const field = h("textarea", { rows: 1, "aria-label": "Message", placeholder: "Message, or drop a picture, clip or video" });
  field.value = drafts.get(draftOf) ?? "";
  const grow = () => {
    field.style.height = "";
    if (field.value) field.style.height = `${Math.min(field.scrollHeight, MAX_HEIGHT)}px`;
    drafts.set(draftOf, field.value);
  };
  field.addEventListener("input", grow);
  const files = attachments();
  const act = button("Send", () => {}, { kind: "primary push", icon: "send", type: "submit" });
  const model = modelField();
  const tools = toolPicker();
  const form = h("form", {
    class: "composer", "aria-label": "Ask",
    onsubmit: (/** @type {Event} */ event) => {
      event.preventDefault();
      if (state.running) return state.running.abort();
      const text = field.value.trim();
      if ((!text && !files.count()) || files.isBusy()) return;
      field.value = "";
      grow();
      onAsk({ message: files.take(text), model: chosen.model || undefined, tools: tools.read() });
    },
    ondragover: (/** @type {DragEvent} */ event) => {
      event.preventDefault();
      form.classList.add("drop");
    },
    ondragleave: () => form.classList.remove("drop"),
    ondrop: (/** @type {DragEvent} */ event) => {
      event.preventDefault();
      form.classList.remove("drop");
      files.add(event.dataTransfer?.files ?? []);
    },
    onpaste: (/** @type {ClipboardEvent} */ event) => files.add(event.clipboardData?.files ?? []),
    onkeydown: (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.target === field) {
        event.preventDefault();
        if (!state.running) form.requestSubmit();
      } else if (event.key === "Escape" && state.running) {
        state.running.abort();
      }
    },
  },
  session.config.provider === "stand-in" && h("p", { class: "small muted" }, "A stand-in answers here, not a model. Costs are simulated: nothing is charged. Set OPENAI_API_KEY to ask a model."),
  files.node, field, h("div", { class: "row" }, files.open, model, tools.node, act));
  state.onState = (isRunning) => {
    act.lastChild.textContent = isRunning ? "Stop" : "Send";
    act.classList.toggle("primary", !isRunning);
    act.classList.toggle("stop", isRunning);
    act.querySelector("use").setAttribute("href", isRunning ? "#stop" : "#send");
  };
  setTimeout(() => {
    grow();
    if (!matchMedia("(pointer: coarse)").matches) field.focus({ preventScroll: true });
  }, 0);
  return form;
}

function modelField() {
  const field = h("input", { class: "field", "aria-label": "Model", placeholder: "Model: default", list: "models", value: chosen.model });
  const models = h("datalist", { id: "models" });
  field.addEventListener("focus", async () => {
    const found = await get("/v1/models").catch(() => ({ data: [] }));
    models.replaceChildren(...found.data.map((/** @type {any} */ each) => h("option", { value: each.id })));
  }, { once: true });
  field.addEventListener("input", () => (chosen.model = field.value.trim()));
  return [field, models];
}

function toolPicker() {
  const place = h("div", { class: "menu-body" }, h("p", { class: "muted" }, "Loading …"));
  const text = h("span", {}, chosen.tools ? `${chosen.tools.size} tools` : "All tools");
  const node = h("details", { class: "menu" }, h("summary", { class: "btn ghost" }, text, icon("down")), place);
  /** @type {any[]} */
  let tools = [];
  const fill = () => {
    const boxes = tools.map((tool) => h("input", { type: "checkbox", value: tool.name, checked: !chosen.tools || chosen.tools.has(tool.name) }));
    const set = (/** @type {string[]} */ names) => {
      chosen.tools = names.length === tools.length ? null : new Set(names);
      text.textContent = chosen.tools ? `${names.length || "No"} tools` : "All tools";
    };
    place.onchange = () => set(boxes.filter((each) => each.checked).map((each) => each.value));
    const all = (/** @type {boolean} */ isOn) => {
      for (const box of boxes) box.checked = isOn;
      set(isOn ? tools.map((tool) => tool.name) : []);
    };
    place.replaceChildren(h("div", { class: "row" }, button("All", () => all(true)), button("None", () => all(false))),
      ...tools.map((tool, index) => h("label", { class: "check" }, boxes[index], h("code", {}, tool.name), tool.paid && h("span", { class: "cost" }, "paid"))));
  };
  node.addEventListener("toggle", async () => {
    try {
      tools = await loadTools(new AbortController().signal);
      fill();
    } catch (error) {
      place.replaceChildren(h("p", {}, /** @type {any} */ (error).message));
    }
  }, { once: true });
  return { node, read: () => (chosen.tools ? (chosen.tools.size ? [...chosen.tools] : "none") : undefined) };
}

/** Files that are to go with the next question. */
function attachments() {
  /** @type {{id: string, type: string, name: string, busy: boolean}[]} */
  const entries = [];
  const node = h("div", { class: "chips" });
  const input = h("input", { type: "file", accept: "image/*,audio/*,video/*,application/pdf", hidden: true, multiple: true });
  const add = (/** @type {Iterable<File>} */ files) => {
    for (const file of files) attach(file);
  };
  input.addEventListener("change", () => {
    add(input.files);
    input.value = "";
  });

  /** @param {File} file */
  async function attach(file) {
    const name = file.name || "pasted file";
    const word = h("span", {}, name);
    const progress = h("progress", { max: 1, value: 0, "aria-label": `Upload of ${name}` });
    const stop = new AbortController();
    const entry = { id: "", type: file.type, name, busy: true };
    const drop = () => entries.includes(entry) && entries.splice(entries.indexOf(entry), 1);
    const chip = h("span", { class: "chip" }, word, progress, button("", () => {
      stop.abort();
      drop();
      chip.remove();
    }, { kind: "ghost icon", icon: "cross", name: `Remove ${name}` }));
    const refuse = (/** @type {string} */ why) => {
      progress.remove();
      chip.classList.add("bad");
      chip.setAttribute("role", "alert");
      word.textContent = `${name}: ${why}`;
      drop();
    };
    node.append(chip);
    if (!ACCEPTED.test(file.type)) return refuse("only pictures, audio, video and PDF can be attached.");
    if (file.size > MAX_FILE_BYTES) return refuse("more than 95 MiB.");
    entries.push(entry);
    try {
      entry.id = (await upload(file, (share) => (progress.value = share), stop.signal)).id;
      progress.remove();
    } catch (error) {
      if (/** @type {any} */ (error).name !== "AbortError") refuse(/** @type {any} */ (error).message);
    } finally {
      entry.busy = false;
    }
  }

  return {
    node, add,
    open: [button("", () => input.click(), { kind: "ghost icon", icon: "clip", name: "Attach a file" }), input],
    count: () => entries.length,
    isBusy: () => entries.some((each) => each.busy),
    /** The message with what is attached, which is gone from here then. @param {string} text */
    take(text) {
      const done = entries.splice(0).filter((each) => each.id);
      node.replaceChildren();
      if (!done.length) return text;
      // Pictures and documents are parts of the message; clips are named, for the tools that take them.
      const isPart = (/** @type {{type: string}} */ each) => /^(image|application)\//.test(each.type);
      const named = done.filter((each) => !isPart(each)).map((each) => `${each.type.split("/")[0]} media://${each.id}`).join(", ");
      const said = [text, named && `Attached: ${named}`].filter(Boolean).join("\n\n");
      return [
        ...(said ? [{ type: "text", text: said }] : []),
        ...done.filter(isPart).map((each) => ({ type: each.type.startsWith("image/") ? "image" : "file", media_id: each.id })),
      ];
    },
  };
}
