// Views by the fragment of the address: paths without one are the API's.

/** @typedef {(place: HTMLElement, route: Route) => void | Promise<void>} View */
/** @typedef {{name: string, rest: string[], query: URLSearchParams, signal: AbortSignal}} Route */

/** @type {AbortController | null} */
let current = null;

/** @returns {{name: string, rest: string[], query: URLSearchParams}} */
export function readRoute() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name = "", ...rest] = path.split("/").map((each) => {
    try {
      return decodeURIComponent(each);
    } catch {
      return each;
    }
  });
  return { name: name || "chat", rest: rest.filter(Boolean), query: new URLSearchParams(query) };
}

/** @param {string} hash */
export function go(hash) {
  if (location.hash === hash) dispatchEvent(new HashChangeEvent("hashchange"));
  else location.hash = hash;
}

/** Ends what the last view asked for. @returns {AbortSignal} */
export function beginView() {
  current?.abort();
  current = new AbortController();
  return current.signal;
}

/** @param {string} title @param {HTMLElement} place */
export function arrive(title, place) {
  place.dataset.shown = location.hash;
  document.title = `${title} · OpenAI MCP Functions`;
  const heading = place.querySelector("h1");
  if (heading) {
    heading.setAttribute("tabindex", "-1");
    heading.focus({ preventScroll: true });
  }
  for (const tab of document.querySelectorAll(".tabs a")) {
    const isCurrent = tab.getAttribute("href") === `#/${readRoute().name}`;
    if (isCurrent) {
      tab.setAttribute("aria-current", "page");
      tab.scrollIntoView({ block: "nearest", inline: "center" });
    } else tab.removeAttribute("aria-current");
  }
}
