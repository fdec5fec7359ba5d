// Builds nodes. Text is always a text node: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "rect", "line", "path", "text", "use", "circle", "title"]);

/**
 * Makes an element. Functions named `onclick` and the like become listeners, `true` an empty
 * attribute; null, undefined and false are left out.
 * @param {string} tag
 * @param {Record<string, unknown>} [attributes]
 * @param {...(Node|string|number|null|undefined|false)} children
 * @returns {any}
 */
export function h(tag, attributes = {}, ...children) {
  const node = SVG_TAGS.has(tag)
    ? document.createElementNS(SVG, tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), /** @type {any} */ (value));
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  append(node, children);
  return node;
}

/**
 * @param {Element} node
 * @param {unknown[]} children
 */
export function append(node, children) {
  for (const child of children.flat(3)) {
    if (child == null || child === false) continue;
    node.append(child instanceof Node ? child : String(child));
  }
}

/** @param {string} name */
export function icon(name) {
  return h("svg", { class: "i", "aria-hidden": "true" }, h("use", { href: `#${name}` }));
}

/**
 * @param {string} label
 * @param {() => void} onclick
 * @param {{kind?: string, icon?: string, type?: string, disabled?: boolean, name?: string}} [options]
 */
export function button(label, onclick, options = {}) {
  return h(
    "button",
    {
      class: `btn ${options.kind ?? ""}`,
      type: options.type ?? "button",
      disabled: options.disabled,
      "aria-label": options.name,
      onclick,
    },
    options.icon && icon(options.icon),
    label,
  );
}

/**
 * Calls at most once for each frame.
 * @param {() => void} paint
 */
export function onceAFrame(paint) {
  let waits = false;
  return () => {
    if (waits) return;
    waits = true;
    requestAnimationFrame(() => {
      waits = false;
      paint();
    });
  };
}

/** Tells screen readers what has happened. @param {string} text */
export function announce(text) {
  const place = document.getElementById("said");
  if (place) place.textContent = text;
}
