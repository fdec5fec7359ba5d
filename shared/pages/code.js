// Code and other text to copy.

import { announce, button, h } from "./dom.js";

const FOLD_CHARS = 8000;

/** @param {string} text */
export async function copy(text) {
  await navigator.clipboard.writeText(text);
  announce("Copied");
}

/** @param {() => string} text @param {string} [label] @param {string} [kind] */
export function copyButton(text, label = "Copy", kind = "ghost") {
  const node = button(label, async () => {
    await copy(text());
    node.lastChild.textContent = "Copied";
    setTimeout(() => (node.lastChild.textContent = label), 1500);
  }, { kind, icon: "copy" });
  return node;
}

/** @param {string} language @param {string} text */
export function codeBlock(language, text) {
  return h(
    "div",
    { class: "codeblock" },
    h("div", {}, language, copyButton(() => text)),
    h("pre", { tabindex: "0" }, folded(text)),
  );
}

/** A value as JSON, cut where it is long. @param {unknown} value */
export function jsonBlock(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return h("pre", { tabindex: "0" }, folded(text ?? ""));
}

/** @param {string} text */
function folded(text) {
  const place = h("code", {});
  place.append(text.slice(0, FOLD_CHARS));
  if (text.length > FOLD_CHARS) {
    const more = button(`Show all ${text.length.toLocaleString("en-US")} characters`, () => {
      place.textContent = text;
    });
    place.append("…\n", more);
  }
  return place;
}
