// A form for a tool's JSON Schema. Patterns and formats are the server's to check.

import { button, h } from "./dom.js";

const MAX_DEPTH = 3;
const LONG_NAMES = new Set(["prompt", "text", "instructions", "system_prompt", "description"]);

/**
 * @param {any} schema
 * @returns {{node: HTMLElement, read: () => Record<string, unknown>, complain: (fields: any[]) => void}}
 */
export function schemaForm(schema) {
  const required = new Set(schema.required ?? []);
  const entries = Object.entries(schema.properties ?? {});
  /** @type {Map<string, Field>} */
  const fields = new Map();
  for (const [name, each] of entries) {
    fields.set(name, makeField(name, resolve(/** @type {any} */ (each), schema), schema, required.has(name), 0));
  }
  const first = entries.filter(([name]) => required.has(name)).map(([name]) => fields.get(name)?.node);
  const more = entries.filter(([name]) => !required.has(name)).map(([name]) => fields.get(name)?.node);
  const node = h("div", { class: "form" }, first,
    more.length ? h("details", { open: !first.length }, h("summary", {}, `More (${more.length})`), more) : null);
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
      }
    },
  };
}

/** @typedef {{node: HTMLElement, read: () => unknown, complain: (sentence: string) => void}} Field */

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
  control.node.setAttribute("aria-describedby", described);
  if (control.isGroup) control.node.setAttribute("aria-labelledby", `${id}-label`);
  return {
    node: h("div", { class: "entry" }, label, control.node, hint, error),
    read: control.read,
    complain(sentence) {
      error.textContent = sentence;
      error.hidden = !sentence;
      if (sentence) control.node.setAttribute("aria-invalid", "true");
      else control.node.removeAttribute("aria-invalid");
    },
  };
}

/**
 * @param {string} name @param {any} schema @param {any} root @param {boolean} isRequired @param {string} id @param {number} depth
 * @returns {{node: HTMLElement, read: () => unknown, isGroup?: boolean}}
 */
function makeControl(name, schema, root, isRequired, id, depth) {
  const shown = schema.default == null ? "" : String(schema.default);
  if (schema.enum || schema.const !== undefined) {
    const options = schema.enum ?? [schema.const];
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
    const isLong = (schema.maxLength ?? 0) > 200 || LONG_NAMES.has(name);
    const node = isLong
      ? h("textarea", { id, class: "field", rows: 3, placeholder: shown })
      : h("input", { id, class: "field", placeholder: shown });
    return { node, read: () => (node.value === "" ? undefined : node.value) };
  }
  const items = schema.type === "array" ? resolve(schema.items ?? {}, root) : null;
  if (items && (items.type === "string" || items.type === "number" || items.type === "integer") && !items.enum) {
    return rows(items, id);
  }
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

/** @param {any} items @param {string} id */
function rows(items, id) {
  const place = h("div", { class: "rows" });
  const add = (focus = true) => {
    const input = h("input", { class: "field", type: items.type === "string" ? "text" : "number", "aria-label": "Value" });
    const row = h("div", { class: "row" }, input, button("Remove", () => row.remove(), { kind: "ghost" }));
    place.append(row);
    if (focus) input.focus();
  };
  add(false);
  const node = h("div", { id, role: "group" }, place, button("Add", () => add(), { kind: "ghost", icon: "plus" }));
  const read = () => {
    const values = [...place.querySelectorAll("input")].map((each) => each.value).filter(Boolean);
    if (!values.length) return undefined;
    return items.type === "string" ? values : values.map(Number);
  };
  return { node, read, isGroup: true };
}
