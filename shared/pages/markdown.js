// Markdown as nodes: one pass over the lines, one over each line, nothing parsed as HTML.

import { h } from "./dom.js";
import { codeBlock } from "./code.js";

const MAX_CHARS = 200_000;
const MAX_LINE = 10_000;
const MAX_DEPTH = 6;
const MAX_LABEL = 1000;
const SCHEMES = new Set(["http:", "https:", "mailto:"]);

/**
 * @param {string} text
 * @returns {Node[]}
 */
export function markdown(text) {
  if (text.length > MAX_CHARS) return plain(text);
  const lines = text.split("\n");
  if (lines.some((line) => line.length > MAX_LINE)) return plain(text);
  return blocks(lines, 0);
}

/**
 * Shows a text that grows. Only what comes after the last finished block is parsed again, so that a long
 * answer costs no more with each word.
 * @param {HTMLElement} place
 * @returns {(text: string) => void}
 */
export function liveMarkdown(place) {
  let done = 0;
  let kept = 0;
  return (text) => {
    const end = text.lastIndexOf("\n\n");
    if (end > done && (text.slice(done, end).match(/^ *(```|~~~)/gm) ?? []).length % 2 === 0) {
      while (place.childNodes.length > kept) place.lastChild?.remove();
      place.append(...open(text.slice(done, end)));
      kept = place.childNodes.length;
      done = end + 2;
    }
    while (place.childNodes.length > kept) place.lastChild?.remove();
    place.append(...open(text.slice(done)));
  };
}

/** @param {string} text the end of one that still grows */
function open(text) {
  // What is too long to be parsed is shown by its end until it is complete.
  return text.length > MAX_LINE ? [h("pre", { tabindex: "0" }, text.slice(-MAX_LINE))] : markdown(text);
}

/** @param {string} text */
function plain(text) {
  const pieces = [];
  for (let start = 0; start < text.length; start += 20_000) {
    pieces.push(h("details", { open: start === 0 },
      h("summary", {}, `Characters ${start + 1} and on`), h("pre", { tabindex: "0" }, text.slice(start, start + 20_000))));
  }
  return pieces;
}

/** @param {string[]} lines @param {number} depth @returns {Node[]} */
function blocks(lines, depth) {
  const nodes = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    const trimmed = line.trimStart();
    if (!trimmed) {
      at += 1;
    } else if (trimmed.startsWith("```") || trimmed.startsWith("~~~")) {
      const fence = trimmed.slice(0, 3);
      const body = [];
      const language = trimmed.slice(3).trim().slice(0, 30);
      at += 1;
      while (at < lines.length && !lines[at].trimStart().startsWith(fence)) body.push(lines[at++]);
      at += 1;
      nodes.push(codeBlock(language || "text", body.join("\n")));
    } else if (/^#{1,6} /.test(trimmed)) {
      const level = trimmed.indexOf(" ");
      nodes.push(h(`h${Math.min(5, level + 2)}`, {}, spans(trimmed.slice(level + 1))));
      at += 1;
    } else if (/^([-*_])( ?\1){2,}\s*$/.test(trimmed)) {
      nodes.push(h("hr"));
      at += 1;
    } else if (trimmed.startsWith(">") && depth < MAX_DEPTH) {
      const body = [];
      while (at < lines.length && lines[at].trimStart().startsWith(">")) {
        body.push(lines[at++].trimStart().slice(1).replace(/^ /, ""));
      }
      nodes.push(h("blockquote", {}, blocks(body, depth + 1)));
    } else if (isItem(trimmed) && depth < MAX_DEPTH) {
      at = list(lines, at, depth, nodes);
    } else if (trimmed.startsWith("|") && /^\s*\|?[\s:|-]+$/.test(lines[at + 1] ?? "") && (lines[at + 1] ?? "").includes("-")) {
      const rows = [];
      while (at < lines.length && lines[at].trimStart().startsWith("|")) rows.push(cells(lines[at++]));
      nodes.push(table(rows));
    } else {
      const body = [trimmed];
      at += 1;
      while (at < lines.length && lines[at].trim() && !startsBlock(lines[at].trimStart())) body.push(lines[at++].trim());
      nodes.push(h("p", {}, body.flatMap((each, index) => (index ? [h("br"), ...spans(each)] : spans(each)))));
    }
  }
  return nodes;
}

/** @param {string} line */
function isItem(line) {
  return /^([-*+]|\d{1,9}[.)]) /.test(line);
}

/** @param {string} line */
function startsBlock(line) {
  return isItem(line) || /^(#{1,6} |>|```|~~~|\|)/.test(line);
}

/** @param {string[]} lines @param {number} at @param {number} depth @param {Node[]} nodes */
function list(lines, at, depth, nodes) {
  const indent = lines[at].length - lines[at].trimStart().length;
  const isOrdered = /^\d/.test(lines[at].trimStart());
  const items = [];
  while (at < lines.length) {
    const trimmed = lines[at].trimStart();
    const own = lines[at].length - trimmed.length;
    if (!trimmed || own < indent || (own === indent && !isItem(trimmed))) break;
    if (own === indent) {
      items.push([trimmed.slice(trimmed.indexOf(" ") + 1)]);
    } else {
      items.at(-1)?.push(lines[at].slice(Math.min(own, indent + 2)));
    }
    at += 1;
  }
  const rows = items.map((item) => {
    const [first, ...rest] = item;
    return h("li", {}, spans(first), rest.length ? blocks(rest, depth + 1) : []);
  });
  nodes.push(h(isOrdered ? "ol" : "ul", {}, rows));
  return at;
}

/** @param {string} line */
function cells(line) {
  return line.trim().replace(/^\|/, "").replace(/\|$/, "").split("|").map((cell) => cell.trim());
}

/** @param {string[][]} rows */
function table(rows) {
  const [head, , ...body] = rows;
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table" },
    h("table", {},
      h("thead", {}, h("tr", {}, head.map((cell) => h("th", { scope: "col" }, spans(cell))))),
      h("tbody", {}, body.map((row) => h("tr", {}, row.map((cell) => h("td", {}, spans(cell))))))));
}

const MARKS = /** @type {[string, string][]} */ ([["**", "strong"], ["__", "strong"], ["~~", "s"], ["*", "em"], ["_", "em"]]);

/** @param {string} text @param {number} [depth] @returns {(Node|string)[]} */
function spans(text, depth = 0) {
  /** @type {(Node|string)[]} */
  const nodes = [];
  let rest = 0;
  let at = 0;
  /** @param {number} end */
  const flush = (end) => {
    if (end > rest) nodes.push(text.slice(rest, end));
  };
  // What was looked for without success is not looked for again: each line takes one pass.
  const missing = new Set();
  /** @param {string} mark @param {number} from */
  const closing = (mark, from) => {
    if (missing.has(mark)) return -1;
    const found = text.indexOf(mark, from);
    if (found < 0) missing.add(mark);
    return found;
  };
  while (at < text.length) {
    const sign = text[at];
    if (sign === "\\" && at + 1 < text.length) {
      flush(at);
      nodes.push(text[at + 1]);
      at = rest = at + 2;
      continue;
    }
    if (sign === "`") {
      const end = closing("`", at + 1);
      if (end > at) {
        flush(at);
        nodes.push(h("code", {}, text.slice(at + 1, end)));
        at = rest = end + 1;
        continue;
      }
    }
    if (sign === "[" || (sign === "!" && text[at + 1] === "[")) {
      const open = sign === "!" ? at + 1 : at;
      const middle = closing("](", open + 1);
      const end = middle > 0 ? closing(")", middle + 2) : -1;
      if (end > 0 && middle - open < MAX_LABEL && isBalanced(text.slice(open + 1, middle))) {
        flush(at);
        // A picture of another host would tell it who reads this: it becomes a link.
        nodes.push(link(text.slice(middle + 2, end), text.slice(open + 1, middle)));
        at = rest = end + 1;
        continue;
      }
    }
    if (text.startsWith("https://", at) || text.startsWith("http://", at)) {
      const end = at + (/^[^\s<>"')\]]*/.exec(text.slice(at, at + 2000))?.[0].length ?? 0);
      flush(at);
      nodes.push(link(text.slice(at, end), text.slice(at, end)));
      at = rest = end;
      continue;
    }
    const mark = depth < MAX_DEPTH && MARKS.find(([each]) => text.startsWith(each, at));
    const isWord = sign === "_" && /\w/.test(text[at - 1] ?? "");
    if (mark && !isWord && (text[at + mark[0].length] ?? " ") !== " ") {
      const end = closing(mark[0], at + mark[0].length + 1);
      if (end > 0) {
        flush(at);
        nodes.push(h(mark[1], {}, spans(text.slice(at + mark[0].length, end), depth + 1)));
        at = rest = end + mark[0].length;
        continue;
      }
    }
    at += 1;
  }
  flush(text.length);
  return nodes;
}

/** Whether brackets close in the order in which they open. @param {string} text */
function isBalanced(text) {
  let depth = 0;
  for (const sign of text) {
    if (sign === "[") depth += 1;
    else if (sign === "]" && --depth < 0) return false;
  }
  return depth === 0;
}

/** @param {string} address @param {string} label @returns {Node|string} */
export function link(address, label) {
  let url;
  try {
    url = new URL(address.trim());
  } catch {
    return `${label} (${address})`;
  }
  if (!SCHEMES.has(url.protocol)) return `${label} (${address})`;
  const names = label.includes(".") && !label.includes(url.host);
  return h("a", { href: url.href, target: "_blank", rel: "noopener noreferrer nofollow" },
    label || url.host, names && ` (${url.host})`);
}
