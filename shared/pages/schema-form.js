// A form for a tool's JSON Schema. Patterns and formats are the server's to check.

import { button, h } from "./dom.js";
import { pickMedium } from "./media-picker.js";

const MAX_DEPTH = 3;
const MAX_SEGMENTS = 4;
const LONG_NAMES = new Set(["prompt", "text", "instructions", "system_prompt", "description"]);
/** Fields that hold ids of media, and of which kind; "" for any. */
const MEDIA_NAMES = /** @type {Record<string, string>} */ ({ media_id: "", image: "image", images: "image", mask: "image" });

/**
 * @param {any} schema
 * @param {Record<string, string>} [given] values to begin with
 * @returns {{node: HTMLElement, read: () => Record<string, unknown>, complain: (fields: any[]) => void}}
 */
export function schemaForm(schema, given = {}) {
  const required = new Set(schema.required ?? []);
  const entries = Object.entries(schema.properties ?? {});
  /** @type {Map<string, Field>} */
  const fields = new Map();
  for (const [name, each] of entries) {
    fields.set(name, makeField(name, resolve(/** @type {any} */ (each), schema), schema, required.has(name), 0));
    if (given[name]) fields.get(name)?.fill(given[name]);
  }
  // Where nothing is required the first field is what the tool is about.
  const isFirst = (/** @type {string} */ name, /** @type {number} */ index) => (required.size ? required.has(name) : index === 0);
  const first = entries.filter(([name], index) => isFirst(name, index)).map(([name]) => fields.get(name)?.node);
  const more = entries.filter(([name], index) => !isFirst(name, index)).map(([name]) => fields.get(name)?.node);
  const rest = h("details", {}, h("summary", {}, `More (${more.length})`), more);
  const node = h("div", { class: "form" }, entries.length ? first : h("p", { class: "muted" }, "It takes no arguments."), more.length ? rest : null);
  return {
    node,
    read() {
      /** @type {Record<string, unknown>} */
      const values = {};
      for (const [name, field] of fields) {
        const value = field.read();
        if (value !== undefined) values[name] = value;
      }
      return values;
    },
    complain(complaints) {
      for (const field of fields.values()) field.complain("");
      for (const each of complaints) {
        const name = (each.loc ?? []).filter((/** @type {any} */ step) => step !== "body")[0];
        fields.get(String(name))?.complain(each.msg);
        if (fields.get(String(name)) && rest.contains(/** @type {any} */ (fields.get(String(name))).node)) rest.open = true;
      }
      node.querySelector("[aria-invalid]")?.focus();
    },
  };
}

/** @typedef {{node: HTMLElement, read: () => unknown, fill: (value: string) => void, complain: (sentence: string) => void}} Field */

/** @param {any} schema @param {any} root */
function resolve(schema, root) {
  const place = /^#\/\$defs\/(\w+)$/.exec(schema.$ref ?? "");
  const found = place ? { ...root.$defs?.[place[1]], ...schema, $ref: undefined } : schema;
  const options = (found.anyOf ?? []).filter((/** @type {any} */ each) => each.type !== "null");
  if (options.length === 1) return { ...resolve(options[0], root), title: found.title, description: found.description, default: found.default };
  return found;
}

let count = 0;

/** @param {string} name @param {any} schema @param {any} root @param {boolean} isRequired @param {number} depth @returns {Field} */
function makeField(name, schema, root, isRequired, depth) {
  const id = `field-${++count}`;
  const control = makeControl(name, schema, root, isRequired, id, depth);
  const error = h("p", { class: "error", id: `${id}-error`, hidden: true });
  const hint = schema.description && h("p", { class: "hint", id: `${id}-hint` }, schema.description);
  const label = control.isGroup
    ? h("span", { class: "label", id: `${id}-label` }, name, isRequired && " *")
    : h("label", { for: id }, name, isRequired && " *");
  const described = [hint && `${id}-hint`, `${id}-error`].filter(Boolean).join(" ");
  const named = control.node.matches(".pick") ? control.node.querySelector("input") : control.node;
  named.setAttribute("aria-describedby", described);
  if (control.isGroup) control.node.setAttribute("aria-labelledby", `${id}-label`);
  return {
    node: h("div", { class: "entry" }, label, control.node, hint, error),
    read: control.read,
    fill: control.fill ?? ((value) => {
      if ("value" in control.node) control.node.value = value;
    }),
    complain(sentence) {
      error.textContent = sentence;
      error.hidden = !sentence;
      if (sentence) named.setAttribute("aria-invalid", "true");
      else named.removeAttribute("aria-invalid");
    },
  };
}

/**
 * @param {string} name @param {any} schema @param {any} root @param {boolean} isRequired @param {string} id @param {number} depth
 * @returns {{node: any, read: () => unknown, isGroup?: boolean, fill?: (value: string) => void}}
 */
function makeControl(name, schema, root, isRequired, id, depth) {
  const shown = schema.default == null ? "" : String(schema.default);
  if (schema.enum || schema.const !== undefined) {
    const options = schema.enum ?? [schema.const];
    if (options.length <= MAX_SEGMENTS) return segments(options, id, isRequired ? null : shown || "default");
    const node = h("select", { id, class: "field" }, !isRequired && h("option", { value: "" }, shown || "default"),
      options.map((/** @type {any} */ each) => h("option", { value: JSON.stringify(each) }, String(each))));
    return { node, read: () => (node.value ? JSON.parse(node.value) : undefined) };
  }
  if (schema.type === "boolean") {
    const node = h("input", { id, type: "checkbox", checked: schema.default === true });
    let touched = false;
    node.addEventListener("change", () => (touched = true));
    return { node, read: () => (touched ? node.checked : undefined) };
  }
  if (schema.type === "integer" || schema.type === "number") {
    const node = h("input", {
      id, type: "number", class: "field", placeholder: shown, min: schema.minimum, max: schema.maximum,
      step: schema.type === "integer" ? 1 : "any",
    });
    return { node, read: () => (node.value === "" ? undefined : Number(node.value)) };
  }
  if (schema.type === "string") {
    if (name in MEDIA_NAMES) return medium(id, MEDIA_NAMES[name]);
    const isLong = (schema.maxLength ?? 0) > 200 || LONG_NAMES.has(name);
    const node = isLong
      ? h("textarea", { id, class: "field", rows: 3, placeholder: shown })
      : h("input", { id, class: "field", placeholder: shown });
    return { node, read: () => (node.value === "" ? undefined : node.value) };
  }
  const items = schema.type === "array" ? resolve(schema.items ?? {}, root) : null;
  if (items && (items.type === "string" || items.type === "number" || items.type === "integer") && !items.enum) {
    return rows(items, id, MEDIA_NAMES[name]);
  }
  if (items?.enum) return checks(items.enum, id);
  if (schema.type === "object" && schema.properties && depth < MAX_DEPTH) {
    const inner = Object.entries(schema.properties).map(([each, value]) =>
      /** @type {[string, Field]} */ ([each, makeField(each, resolve(/** @type {any} */ (value), root), root, (schema.required ?? []).includes(each), depth + 1)]));
    return {
      isGroup: true,
      node: h("fieldset", { id }, inner.map(([, field]) => field.node)),
      read() {
        const values = Object.fromEntries(inner.map(([each, field]) => [each, field.read()]).filter(([, value]) => value !== undefined));
        return Object.keys(values).length || isRequired ? values : undefined;
      },
    };
  }
  const node = h("textarea", { id, class: "field mono", rows: 4, placeholder: "JSON" });
  node.addEventListener("blur", () => {
    try {
      if (node.value.trim()) JSON.parse(node.value);
      node.setCustomValidity("");
    } catch {
      node.setCustomValidity("This is no valid JSON.");
      node.reportValidity();
    }
  });
  return { node, read: () => (node.value.trim() ? JSON.parse(node.value) : undefined) };
}

/** One of a few, as buttons. @param {any[]} options @param {string} id @param {string|null} none how leaving it out is called */
function segments(options, id, none) {
  const all = none === null ? options : [undefined, ...options];
  let chosen = all[0];
  const buttons = all.map((each) => h("button", {
    type: "button", "aria-pressed": String(each === chosen),
    onclick: () => {
      chosen = each;
      buttons.forEach((other, index) => other.setAttribute("aria-pressed", String(all[index] === chosen)));
      node.dispatchEvent(new Event("input", { bubbles: true }));
    },
  }, each === undefined ? none : String(each)));
  const node = h("div", { id, class: "seg", role: "group" }, buttons);
  return { node, read: () => chosen, isGroup: true };
}

/** @param {any[]} options @param {string} id */
function checks(options, id) {
  const boxes = options.map((each) => h("input", { type: "checkbox", value: JSON.stringify(each) }));
  const node = h("div", { id, role: "group" }, options.map((each, index) => h("label", { class: "check" }, boxes[index], String(each))));
  const read = () => {
    const values = boxes.filter((each) => each.checked).map((each) => JSON.parse(each.value));
    return values.length ? values : undefined;
  };
  return { node, read, isGroup: true };
}

/** A field with an id of the caller's media, which can be picked. @param {string} id @param {string} kind */
function medium(id, kind) {
  const input = h("input", { id, class: "field mono", placeholder: "id of a medium" });
  const pick = button("Choose…", async () => {
    const found = await pickMedium(kind);
    if (!found) return;
    input.value = found;
    input.dispatchEvent(new Event("input", { bubbles: true }));
  });
  const node = h("div", { class: "row pick" }, input, pick);
  return {
    node, read: () => (input.value === "" ? undefined : input.value),
    fill: (/** @type {string} */ value) => (input.value = value),
  };
}

/** @param {any} items @param {string} id @param {string} [kind] of media, where the values are their ids */
function rows(items, id, kind) {
  const place = h("div", { class: "rows" });
  /** @type {(() => unknown)[]} */
  let readers = [];
  const add = (focus = true, value = "") => {
    const input = kind === undefined
      ? h("input", { class: "field", type: items.type === "string" ? "text" : "number" })
      : medium("", kind).node;
    const field = kind === undefined ? input : input.querySelector("input");
    field.removeAttribute("id");
    field.setAttribute("aria-label", "Value");
    if (value) field.value = value;
    const read = () => field.value;
    readers.push(read);
    const row = h("div", { class: "row" }, input, button("Remove", () => {
      row.remove();
      readers = readers.filter((each) => each !== read);
      node.dispatchEvent(new Event("input", { bubbles: true }));
    }, { kind: "ghost" }));
    place.append(row);
    if (focus) field.focus();
    return field;
  };
  const first = add(false);
  const node = h("div", { id, role: "group" }, place, button("Add", () => add(), { kind: "ghost", icon: "plus" }));
  const read = () => {
    const values = readers.map((each) => each()).filter(Boolean);
    if (!values.length) return undefined;
    return items.type === "string" ? values : values.map(Number);
  };
  return { node, read, isGroup: true, fill: (/** @type {string} */ value) => (first.value = value) };
}
