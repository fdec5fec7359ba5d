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
  return h("div", { role: "status", "aria-busy": "true", "aria-label": "Loading" }, blocks);
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
 * Opens a dialog; returns what closes it. Focus goes back to where it was.
 * @param {string} title @param {Node} content @param {HTMLElement} [first] gets the focus @param {() => void} [onClose]
 * @returns {() => void}
 */
export function modal(title, content, first, onClose) {
  const before = /** @type {HTMLElement|null} */ (document.activeElement);
  const dialog = h("dialog", {
    "aria-labelledby": "modal-title",
    onclose: () => {
      dialog.remove();
      if (before?.isConnected) before.focus();
      onClose?.();
    },
  }, h("h2", { id: "modal-title" }, title), content);
  document.body.append(dialog);
  dialog.showModal();
  first?.focus();
  return () => dialog.close();
}

/**
 * Opens what stands at the side of a view as a dialog, where there is no room for it.
 * @param {HTMLElement} side @param {string} title
 */
export function drawer(side, title) {
  const content = h("div", { class: "side open" }, ...side.childNodes);
  const close = modal(title, content, undefined, () => side.append(...content.childNodes));
  content.closest("dialog")?.classList.add("drawer");
  content.addEventListener("click", (event) => {
    if (/** @type {Element} */ (event.target).closest("a")) close();
  });
}

/**
 * Counts down on a button, which can be pressed at the end, or is pressed by itself.
 * @param {HTMLButtonElement} node @param {number} seconds @param {() => void} [act]
 */
export function countdown(node, seconds, act) {
  const label = node.textContent ?? "";
  let left = Math.ceil(seconds);
  const tick = () => {
    if (!node.isConnected && left < Math.ceil(seconds)) return;
    node.disabled = left > 0;
    node.textContent = left > 0 ? `${label} in ${left} s` : label;
    if (left > 0) setTimeout(tick, 1000);
    else act?.();
    left -= 1;
  };
  tick();
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
    const act = button(action, () => {
      resolve(true);
      close();
    }, { kind: "stop", disabled: Boolean(name) });
    const cancel = button("Cancel", () => close());
    if (field) field.addEventListener("input", () => (act.disabled = field.value !== name));
    const content = h("div", { class: "form" }, h("p", {}, sentence), field && h("p", {}, `Type ${name} to go on.`), field,
      h("div", { class: "row end" }, cancel, act));
    const close = modal(title, content, field || cancel, () => resolve(false));
  });
}
