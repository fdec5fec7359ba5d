// What is said when something failed, is empty, is loading, is done, or has to be confirmed.

import { announce, button, h } from "./dom.js";
import { ApiError } from "./api.js";

/**
 * A failure in place: the sentence, what to quote, and one thing to do.
 * @param {unknown} error
 * @param {{label: string, act: () => void}} [remedy]
 */
export function fault(error, remedy) {
  const known = error instanceof ApiError ? error : null;
  const quoted = [known?.code, known?.requestId && `request ${known.requestId}`].filter(Boolean).join(" · ");
  return h(
    "div",
    { class: "fault", role: "alert" },
    h("p", {}, /** @type {any} */ (error)?.message ?? String(error)),
    quoted && h("code", {}, quoted),
    remedy && button(remedy.label, remedy.act),
  );
}

/** @param {string} sentence @param {Node} [action] */
export function empty(sentence, action) {
  return h("div", { class: "empty" }, h("p", {}, sentence), action);
}

/** @param {number} [count] */
export function skeleton(count = 3) {
  const blocks = Array.from({ length: count }, () => h("div", { class: "skeleton" }));
  return h("div", { "aria-busy": "true", "aria-label": "Loading" }, blocks);
}

/** @param {string} text */
export function toast(text) {
  announce(text);
  const node = h("div", { class: "toast" }, text);
  document.body.append(node);
  setTimeout(() => node.remove(), 2500);
}

/**
 * Shows something while it loads, then what it came to, or why it did not.
 * @param {HTMLElement} place
 * @param {() => Promise<Node|Node[]>} load
 */
export async function loading(place, load) {
  const later = setTimeout(() => place.replaceChildren(skeleton()), 150);
  try {
    const nodes = await load();
    clearTimeout(later);
    place.replaceChildren(...[nodes].flat());
  } catch (error) {
    clearTimeout(later);
    if (/** @type {any} */ (error).name === "AbortError") return;
    place.replaceChildren(fault(error, { label: "Try again", act: () => loading(place, load) }));
  }
}

/**
 * Asks before something cannot be undone; resolves to whether to go on.
 * @param {string} title @param {string} sentence @param {string} action
 * @param {string} [name] to be typed first
 * @returns {Promise<boolean>}
 */
export function confirm(title, sentence, action, name) {
  return new Promise((resolve) => {
    const field = name && h("input", { class: "field mono", "aria-label": `Type ${name}`, placeholder: name });
    const act = button(action, () => finish(true), { kind: "stop", disabled: Boolean(name) });
    const cancel = button("Cancel", () => finish(false));
    const dialog = h(
      "dialog",
      { "aria-labelledby": "confirm-title", onclose: () => finish(false) },
      h("h2", { id: "confirm-title" }, title),
      h("p", {}, sentence),
      field && h("p", {}, "Type the name to go on."),
      field,
      h("div", { class: "row end" }, cancel, act),
    );
    if (field) field.addEventListener("input", () => (act.disabled = field.value !== name));
    /** @param {boolean} answer */
    function finish(answer) {
      dialog.remove();
      resolve(answer);
    }
    document.body.append(dialog);
    dialog.showModal();
    cancel.focus();
  });
}
