// What was spent and used, by day and by model, tool, door or principal, what limits leave, and single calls.

import { button, h } from "./dom.js";
import { get, send } from "./api.js";
import { chartPanel, dayChart, table } from "./chart.js";
import { ago, counted, duration, money, number } from "./format.js";
import { empty, loading } from "./notice.js";
import { may, session } from "./session.js";

const DAY = 86_400_000;
const LIMIT_NAMES = /** @type {Record<string, string>} */ ({
  requests_per_minute: "Requests in a minute", requests_per_day: "Requests today", tokens_per_day: "Tokens today",
  tokens_per_month: "Tokens this month", usd_per_day: "Spent today", usd_per_month: "Spent this month", parallel: "Calls at once",
});
const GROUPS = /** @type {Record<string, string>} */ ({ model: "Model", tool: "Tool", door: "Door", principal: "Principal" });

/** @type {import("./router.js").View} */
export function show(place, route) {
  if (route.rest[0] === "calls") return showCalls(place, route);
  const today = new Date().toISOString().slice(0, 10);
  const from = date(route.query.get("from")) ?? `${today.slice(0, 8)}01`;
  const to = date(route.query.get("to")) ?? today;
  const wanted = route.query.get("by") ?? "model";
  const by = wanted in GROUPS ? wanted : "model";
  const range = `from=${from}&to=${to}`;
  return loading(place, async () => {
    const [days, groups, records, me] = await Promise.all([
      get(`/usage?${range}&group_by=day`, route.signal), get(`/usage?${range}&group_by=${by}`, route.signal),
      get("/usage/records?limit=20", route.signal), get("/me", route.signal),
    ]);
    session.me = me;
    return h("div", { class: "page" },
      h("div", { class: "head" }, h("h1", {}, "Usage"), ranges(from, to, today, by),
        button("CSV", () => download(`/usage?${range}&group_by=${by}&format=csv`, `usage-by-${by}.csv`), { icon: "load", name: `Download CSV by ${by}` })),
      h("p", { class: "muted small" }, may("admin") ? "Of everybody who calls this app. Days are UTC." : "Your own calls. Days are UTC."),
      totals(days.total), limits(me.limits ?? {}),
      spending(days.rows, from, to, me.limits?.usd_per_day?.limit), tokens(days.rows, from, to),
      h("div", { class: "two" },
        h("div", { class: "panel" }, h("div", { class: "row" }, h("h2", {}, `By ${by}`), groupPicker(by, from, to)), grouped(by, groups.rows)),
        h("div", { class: "panel" }, h("div", { class: "row" }, h("h2", {}, "Latest calls"),
          h("a", { class: "push small", href: "#/usage/calls" }, "All calls")), calls(records.records ?? []))));
  });
}

/** @param {string|null} text */
function date(text) {
  return text && /^\d{4}-\d\d-\d\d$/.test(text) ? text : null;
}

/** @param {string} from @param {string} to @param {string} today @param {string} by */
function ranges(from, to, today, by) {
  const week = new Date(Date.now() - 6 * DAY).toISOString().slice(0, 10);
  const month = `${today.slice(0, 8)}01`;
  const start = h("input", { type: "date", class: "field", value: from, max: today, "aria-label": "From" });
  const end = h("input", { type: "date", class: "field", value: to, max: today, "aria-label": "To" });
  const choose = () => {
    if (start.value && end.value && start.value <= end.value) location.hash = `#/usage?from=${start.value}&to=${end.value}&by=${by}`;
  };
  start.addEventListener("change", choose);
  end.addEventListener("change", choose);
  return h("div", { class: "row ranges" },
    h("div", { class: "seg", role: "group", "aria-label": "Period" },
      h("a", { href: `#/usage?from=${week}&to=${today}&by=${by}`, "aria-current": from === week && to === today && "true" }, "7 days"),
      h("a", { href: `#/usage?by=${by}`, "aria-current": from === month && to === today && "true" }, "This month")),
    h("span", { class: "row" }, start, end));
}

/** @param {string} by @param {string} from @param {string} to */
function groupPicker(by, from, to) {
  return h("div", { class: "seg push", role: "group", "aria-label": "Group by" }, Object.entries(GROUPS).map(([value, label]) =>
    h("a", { href: `#/usage?from=${from}&to=${to}&by=${value}`, "aria-current": value === by && "true" }, label)));
}

/** @param {any} total */
function totals(total) {
  const cells = [
    ["Spent", h("span", { class: "cost" }, money(total.cost_usd)), total.unpriced_requests ? `${total.unpriced_requests} without a price` : "all priced"],
    ["Requests", number(total.requests), `${counted(total.provider_calls, "call")} of providers`],
    ["Tokens", number((total.input_tokens ?? 0) + (total.output_tokens ?? 0)), `${number(total.input_tokens)} in, ${number(total.output_tokens)} out`],
    ["Pictures", number(total.images), `${number(Math.round(total.seconds ?? 0))} s of audio and video`],
  ];
  return h("dl", { class: "limits" }, cells.map(([name, value, small]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, value), h("dd", {}, h("small", {}, small)))));
}

/** @param {Record<string, any>} all */
function limits(all) {
  const set = Object.entries(all).filter(([, each]) => each?.limit != null);
  if (!set.length) return null;
  return h("section", { "aria-label": "Limits" }, h("h2", { class: "over" }, "Your limits, and what is left"), h("dl", { class: "limits" }, set.map(([name, each]) => {
    const isMoney = name.startsWith("usd");
    const say = isMoney ? money : number;
    const left = Math.max(0, each.limit - (each.used ?? 0));
    return h("div", {},
      h("dt", {}, LIMIT_NAMES[name] ?? name),
      h("dd", {}, h("span", { class: isMoney && "cost" }, say(left)), h("small", {}, ` left of ${say(each.limit)}`)),
      h("dd", {}, h("progress", { class: isMoney && "cost", value: each.used ?? 0, max: each.limit || 1, "aria-label": `${LIMIT_NAMES[name] ?? name}: ${say(each.used ?? 0)} of ${say(each.limit)}` })),
      each.resets_at && h("dd", {}, h("small", {}, `again from ${new Date(each.resets_at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" })}`)));
  })));
}

/** @param {any[]} rows @param {string} from @param {string} to @param {(row: any) => number} value @param {(row: any) => string} words */
function byDay(rows, from, to, value, words) {
  const found = new Map(rows.map((row) => [row.key, row]));
  const points = [];
  for (let at = Date.parse(from); at <= Date.parse(to) && points.length < 400; at += DAY) {
    const key = new Date(at).toISOString().slice(0, 10);
    const row = found.get(key) ?? {};
    points.push({ key, value: value(row) || 0, words: `${key}\n${words(row)}` });
  }
  return points;
}

/** @param {any[]} rows @param {string} from @param {string} to @param {number|undefined} limit */
function spending(rows, from, to, limit) {
  const points = byDay(rows, from, to, (row) => row.cost_usd, (row) => `${money(row.cost_usd ?? 0)}, ${counted(row.requests ?? 0, "request")}`);
  const chart = dayChart(points, { label: "Spending by day in US dollars", unit: money, limit, limitWords: `limit ${money(limit)} a day` });
  return chartPanel("Spending by day", chart, table("Spending by day",
    [{ name: "Day" }, { name: "Requests", kind: "num" }, { name: "Pictures", kind: "num wide" }, { name: "Cost", kind: "num cost" }],
    rows.map((row) => [row.key, number(row.requests), number(row.images), money(row.cost_usd)])));
}

/** @param {any[]} rows @param {string} from @param {string} to */
function tokens(rows, from, to) {
  const sum = (/** @type {any} */ row) => (row.input_tokens ?? 0) + (row.output_tokens ?? 0);
  const points = byDay(rows, from, to, sum, (row) => `${number(row.input_tokens ?? 0)} in, ${number(row.output_tokens ?? 0)} out`);
  const short = (/** @type {number} */ value) => Intl.NumberFormat("en", { notation: "compact" }).format(value);
  const chart = dayChart(points, { label: "Tokens by day", unit: short, kind: "line" });
  return chartPanel("Tokens by day", chart, table("Tokens by day",
    [{ name: "Day" }, { name: "Input", kind: "num" }, { name: "Cached", kind: "num wide" }, { name: "Output", kind: "num" }],
    rows.map((row) => [row.key, number(row.input_tokens), number(row.cached_tokens), number(row.output_tokens)])));
}

/** @param {string} by @param {any[]} rows */
function grouped(by, rows) {
  if (!rows.length) return empty("Nothing was asked of a provider in this period.");
  const highest = Math.max(...rows.map((row) => row.cost_usd ?? 0));
  return table(`Spending by ${by}`, [{ name: GROUPS[by] }, { name: "Requests", kind: "num" }, { name: "Tokens", kind: "num wide" }, { name: "Cost", kind: "num cost" }, { name: "Share", kind: "wide" }],
    rows.map((row) => [h("code", {}, row.key ?? "–"), number(row.requests), number((row.input_tokens ?? 0) + (row.output_tokens ?? 0)), money(row.cost_usd),
      highest > 0 && h("progress", { class: "cost", value: row.cost_usd ?? 0, max: highest, "aria-label": `${row.key}: share of the costliest` })]));
}

/** @param {any[]} records */
function calls(records) {
  if (!records.length) return empty("No calls yet.");
  return table("Calls", [{ name: "When" }, ...(may("admin") ? [{ name: "Principal", kind: "wide" }] : [{ name: "Door", kind: "wide" }]), { name: "Tool or model" }, { name: "Took", kind: "num wide" }, { name: "Cost", kind: "num cost" }],
    records.map((each) => [h("span", { title: each.time }, ago(each.time)), may("admin") ? each.principal : each.door, h("code", {}, each.tool ?? each.model ?? "–"),
      each.status === "ok" ? duration(each.duration_ms) : h("span", { class: "danger" }, each.status), money(each.cost_usd, each.is_estimate)]));
}

/** @param {HTMLElement} place @param {import("./router.js").Route} route */
function showCalls(place, route) {
  return loading(place, async () => {
    const list = h("div", { class: "panel" });
    const foot = h("div", { class: "row" });
    /** @type {any[]} */
    const all = [];
    const add = async (/** @type {string} */ cursor) => {
      const found = await get(`/usage/records?limit=100${cursor && `&cursor=${encodeURIComponent(cursor)}`}`, route.signal);
      all.push(...(found.records ?? []));
      list.replaceChildren(calls(all));
      foot.replaceChildren(found.cursor && button("Show more", () => loading(foot, async () => {
        await add(found.cursor);
        return [...foot.children];
      })), h("span", { class: "muted small" }, `${all.length} shown, newest first`));
    };
    await add("");
    return h("div", { class: "page" }, h("div", { class: "head" }, h("h1", {}, "Calls"),
      button("CSV", () => download("/usage/records?format=csv&limit=1000", "calls.csv"), { icon: "load", name: "Download calls as CSV" }),
      h("a", { class: "btn", href: "#/usage" }, "Back to usage")), list, foot);
  });
}

/** @param {string} path @param {string} name */
async function download(path, name) {
  const blob = await (await send("GET", path)).blob();
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
