// What was spent and used, by day and by model, what limits leave, and single calls.

import { button, h } from "./dom.js";
import { get, send } from "./api.js";
import { barChart, table } from "./chart.js";
import { ago, duration, money, number } from "./format.js";
import { loading } from "./notice.js";
import { session } from "./session.js";

const DAY = 86_400_000;
const LIMIT_NAMES = /** @type {Record<string, string>} */ ({
  requests_per_minute: "Requests in a minute", requests_per_day: "Requests today", tokens_per_day: "Tokens today",
  tokens_per_month: "Tokens this month", usd_per_day: "Dollars today", usd_per_month: "Dollars this month", parallel: "Calls at once",
});

/** @type {import("./router.js").View} */
export function show(place, route) {
  if (route.rest[0] === "calls") return showCalls(place, route);
  const today = new Date().toISOString().slice(0, 10);
  const from = route.query.get("from") ?? `${today.slice(0, 8)}01`;
  const to = route.query.get("to") ?? today;
  const range = `from=${from}&to=${to}`;
  return loading(place, async () => {
    const [days, models, records, me] = await Promise.all([
      get(`/usage?${range}&group_by=day`, route.signal), get(`/usage?${range}&group_by=model`, route.signal),
      get("/usage/records?limit=20", route.signal), get("/me", route.signal),
    ]);
    session.me = me;
    return h("div", { class: "page" },
      h("div", { class: "head" }, h("h1", {}, "Usage"), ranges(from, to, today),
        button("CSV", () => download(`/usage?${range}&group_by=day&format=csv`), { icon: "load" })),
      totals(days.total, me.limits ?? {}),
      byDay(days.rows, from, to, me.limits?.usd_per_day?.limit),
      h("div", { class: "two" },
        h("div", { class: "panel" }, h("h2", {}, "By model"), byModel(models.rows)),
        h("div", { class: "panel" }, h("div", { class: "row" }, h("h2", {}, "Latest calls"),
          h("a", { class: "push small", href: "#/usage/calls" }, "All calls")), calls(records.records ?? []))));
  });
}

/** @param {string} from @param {string} to @param {string} today */
function ranges(from, to, today) {
  const week = new Date(Date.now() - 6 * DAY).toISOString().slice(0, 10);
  const month = `${today.slice(0, 8)}01`;
  const start = h("input", { type: "date", class: "field", value: from, "aria-label": "From" });
  const end = h("input", { type: "date", class: "field", value: to, "aria-label": "To" });
  const choose = () => {
    if (start.value && end.value) location.hash = `#/usage?from=${start.value}&to=${end.value}`;
  };
  start.addEventListener("change", choose);
  end.addEventListener("change", choose);
  return h("div", { class: "row" },
    h("div", { class: "seg", role: "group", "aria-label": "Period" },
      h("a", { href: `#/usage?from=${week}&to=${today}`, "aria-current": from === week && "true" }, "7 days"),
      h("a", { href: "#/usage", "aria-current": from === month && "true" }, "This month")),
    start, end);
}

/** @param {any} total @param {Record<string, any>} limits */
function totals(total, limits) {
  const cells = [
    ["Spent", h("span", { class: "cost" }, money(total.cost_usd)), total.unpriced_requests ? `${total.unpriced_requests} without a price` : ""],
    ["Requests", number(total.requests), `${number(total.provider_calls)} calls of providers`],
    ["Tokens", number((total.input_tokens ?? 0) + (total.output_tokens ?? 0)), `${number(total.cached_tokens)} cached`],
    ["Pictures", number(total.images), ""],
  ];
  const left = Object.entries(limits).filter(([, each]) => each?.limit != null);
  return [
    h("dl", { class: "limits" }, cells.map(([name, value, small]) => h("div", {}, h("dt", {}, name), h("dd", {}, value), h("dd", {}, h("small", {}, small))))),
    left.length ? h("dl", { class: "limits" }, left.map(([name, each]) => h("div", {},
      h("dt", {}, LIMIT_NAMES[name] ?? name),
      h("dd", {}, name.startsWith("usd") ? h("span", { class: "cost" }, money(each.used)) : number(each.used),
        h("small", {}, ` of ${name.startsWith("usd") ? money(each.limit) : number(each.limit)}`)),
      h("dd", {}, h("progress", { class: name.startsWith("usd") && "cost", value: each.used ?? 0, max: each.limit, "aria-label": LIMIT_NAMES[name] ?? name }))))) : null,
  ];
}

/** @param {any[]} rows @param {string} from @param {string} to @param {number|undefined} limit */
function byDay(rows, from, to, limit) {
  const found = new Map(rows.map((row) => [row.key, row]));
  const bars = [];
  for (let at = Date.parse(from); at <= Date.parse(to) && bars.length < 400; at += DAY) {
    const key = new Date(at).toISOString().slice(0, 10);
    const row = found.get(key);
    bars.push({ key, value: row?.cost_usd ?? 0, words: `${key}: ${money(row?.cost_usd ?? 0)}, ${number(row?.requests ?? 0)} requests` });
  }
  const chart = barChart(bars, { label: "Spending by day in US dollars", unit: money, limit, limitWords: `limit ${money(limit)} a day` });
  const numbers = table("Spending by day", [{ name: "Day" }, { name: "Requests", kind: "num" }, { name: "Tokens", kind: "num wide" }, { name: "Cost", kind: "num cost" }],
    rows.map((row) => [row.key, number(row.requests), number((row.input_tokens ?? 0) + (row.output_tokens ?? 0)), money(row.cost_usd)]));
  numbers.hidden = true;
  const choose = (/** @type {boolean} */ isTable) => {
    chart.hidden = isTable;
    numbers.hidden = !isTable;
    asChart.setAttribute("aria-pressed", String(!isTable));
    asTable.setAttribute("aria-pressed", String(isTable));
  };
  const asChart = h("button", { type: "button", "aria-pressed": "true", onclick: () => choose(false) }, "Chart");
  const asTable = h("button", { type: "button", "aria-pressed": "false", onclick: () => choose(true) }, "Table");
  return h("div", { class: "panel" }, h("div", { class: "row" }, h("h2", {}, "Spending by day"),
    h("div", { class: "seg push", role: "group", "aria-label": "Show as" }, asChart, asTable)), chart, numbers);
}

/** @param {any[]} rows */
function byModel(rows) {
  return table("Spending by model", [{ name: "Model" }, { name: "Requests", kind: "num" }, { name: "Tokens", kind: "num wide" }, { name: "Cost", kind: "num cost" }],
    rows.map((row) => [h("code", {}, row.key ?? "–"), number(row.requests), number((row.input_tokens ?? 0) + (row.output_tokens ?? 0)), money(row.cost_usd)]));
}

/** @param {any[]} records */
function calls(records) {
  return table("Calls", [{ name: "When" }, { name: "Door", kind: "wide" }, { name: "Tool or model" }, { name: "Took", kind: "num wide" }, { name: "Cost", kind: "num cost" }],
    records.map((each) => [ago(each.time), each.door ?? "", h("code", {}, each.tool ?? each.model ?? "–"), duration(each.duration_ms), money(each.cost_usd, each.status === "unsettled")]));
}

/** @param {HTMLElement} place @param {import("./router.js").Route} route */
function showCalls(place, route) {
  return loading(place, async () => {
    const page = h("div", { class: "page" }, h("div", { class: "head" }, h("h1", {}, "Calls"), h("a", { class: "btn", href: "#/usage" }, "Back to usage")));
    const add = async (/** @type {string} */ cursor) => {
      const found = await get(`/usage/records?limit=100${cursor && `&cursor=${encodeURIComponent(cursor)}`}`, route.signal);
      page.append(h("div", { class: "panel" }, calls(found.records ?? [])));
      const next = found.next_cursor ?? found.cursor;
      if (next) {
        const more = button("Show more", () => {
          more.remove();
          add(next);
        });
        page.append(more);
      }
    };
    await add("");
    return page;
  });
}

/** @param {string} path */
async function download(path) {
  const blob = await (await send("GET", path)).blob();
  const link = h("a", { href: URL.createObjectURL(blob), download: "usage.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
