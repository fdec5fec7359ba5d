// Keys of others, for administrators.

import { button, h } from "./dom.js";
import { get, post, remove, send } from "./api.js";
import { copyButton } from "./code.js";
import { counted, money, number } from "./format.js";
import { confirm, empty, fault, loading, modal, toast } from "./notice.js";
import { LOOPBACK } from "./session.js";

const SCOPES = /** @type {Record<string, string>} */ ({
  chat: "chat", tools: "tools", connections: "connections", openai: "openai (/v1)", "act-as": "act-as: speak for users", admin: "admin: keys, everybody's usage",
});
const DEFAULTS = ["chat", "tools", "connections", "openai"];
const LIMITS = /** @type {Record<string, string>} */ ({
  usd_per_day: "Dollars a day", usd_per_month: "Dollars a month", tokens_per_day: "Tokens a day", tokens_per_month: "Tokens a month",
  requests_per_minute: "Requests a minute", requests_per_day: "Requests a day", parallel: "Calls at once",
});

/** @type {import("./router.js").View} */
export function show(place, route) {
  return loading(place, async () => {
    const [found, usage] = await Promise.all([get("/keys", route.signal), get("/usage?group_by=principal", route.signal).catch(() => ({ rows: [] }))]);
    const spent = new Map(usage.rows.map((/** @type {any} */ row) => [row.key, row]));
    const fresh = h("div", {});
    const make = () => openForm("Make a key", null, async (name, body) => {
      const made = await post("/keys", { name, ...body });
      showOnce(fresh, made.name, made.key);
      // The key stays in sight even where the list cannot be read again.
      get("/keys", route.signal).then(({ keys }) => fill(keys), () => {});
    });
    const list = h("div", {});
    const fill = (/** @type {any[]} */ keys) => list.replaceChildren(keys.length
      ? h("div", { class: "keys" }, keys.map((key) => card(key, spent.get(key.name), actions(key, fresh))))
      : empty("No stored keys yet. A key of its own for each person or client shows who spent what, and can be revoked alone.", button("Make a key", make)));
    fill(found.keys);
    return h("div", { class: "page" },
      h("div", { class: "head" }, h("h1", {}, "Keys"), button("Make a key", make, { kind: "primary", icon: "plus" })),
      fresh,
      (found.problems ?? []).map((/** @type {string} */ problem) => h("div", { class: "fault" }, h("p", {}, problem))),
      list,
      h("h2", { class: "over" }, "From the settings"),
      h("p", { class: "muted small pre" }, "Changed in API_KEYS and MCP_API_KEY, not here.", LOOPBACK.has(location.hostname) && " Without them, “make run” keeps its key in .local/key."),
      h("div", { class: "keys" }, (found.settings ?? []).map((/** @type {any} */ key) => card(key, spent.get(key.name), null))));
  });
}

/** @param {any} key @param {any} used @param {Node|null} acts */
function card(key, used, acts) {
  const facts = /** @type {[string, any][]} */ ([
    ["Scopes", key.scopes.join(", ") || "none"],
    ["Models", key.models?.join(", ") ?? "any"],
    ["Limits", Object.entries(key.limits ?? {}).map(([name, value]) => `${LIMITS[name] ?? name}: ${number(Number(value))}`).join(", ") || "those for everybody"],
    ["Ends", key.expires ?? "never"],
  ]);
  if (key.valid_keys > 1) facts.push(["Valid keys", `${key.valid_keys}, an old one overlaps`]);
  return h("article", { class: "panel key", "aria-label": `Key ${key.name}` },
    h("div", { class: "row" }, h("h2", {}, h("code", {}, key.name)),
      h("span", { class: "push num" }, used ? h("span", {}, h("b", { class: "cost" }, money(used.cost_usd)), ` this month, ${counted(used.requests, "request")}`) : h("span", { class: "muted" }, "not used this month"))),
    key.problem && h("div", { class: "fault" }, h("p", {}, key.problem)),
    h("dl", { class: "facts" }, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])), acts);
}

/** @param {any} key @param {HTMLElement} fresh */
function actions(key, fresh) {
  const path = `/keys/${encodeURIComponent(key.name)}`;
  return h("div", { class: "row" },
    button("Change", () => openForm(`Change the key ${key.name}`, key, async (_, body) => {
      await send("PATCH", path, { json: body });
      toast("Changed");
      reload();
    }), { name: `Change the key ${key.name}` }),
    button("Rotate", async () => {
      if (!(await confirm(`Rotate the key ${key.name}?`, "A new key is made. The old one works for another day.", "Rotate"))) return;
      try {
        showOnce(fresh, key.name, (await post(`${path}/rotate`, { overlap_seconds: 86_400 })).key);
      } catch (error) {
        fresh.replaceChildren(fault(error));
      }
    }, { name: `Rotate the key ${key.name}` }),
    button("Revoke", async () => {
      if (!(await confirm(`Revoke the key ${key.name}?`, "It is refused everywhere within 30 seconds. What was stored under the name stays.", "Revoke", key.name))) return;
      await remove(path);
      toast("Revoked");
      reload();
    }, { kind: "ghost push", name: `Revoke the key ${key.name}` }));
}

function reload() {
  dispatchEvent(new HashChangeEvent("hashchange"));
}

/**
 * @param {string} title @param {any} key what is changed; null for a new one
 * @param {(name: string, body: any) => Promise<void>} save
 */
function openForm(title, key, save) {
  const hint = "Letters, digits, . _ @ - and no spaces";
  const name = h("input", {
    class: "field mono", id: "key-name", required: true, maxlength: 128, autocomplete: "off",
    pattern: "[A-Za-z0-9._@\\-]+", title: hint, "aria-describedby": "key-hint",
  });
  const expires = h("input", { class: "field", id: "key-expires", type: "date", value: key?.expires?.slice(0, 10) });
  const models = h("input", { class: "field", id: "key-models", placeholder: "any", value: key?.models?.join(", ") });
  const has = new Set(key?.scopes ?? DEFAULTS);
  const scopes = Object.keys(SCOPES).map((scope) => h("input", { type: "checkbox", value: scope, checked: has.has(scope) }));
  const limits = Object.keys(LIMITS).map((limit) => h("input", {
    class: "field", type: "number", min: 0, step: limit.startsWith("usd") ? "any" : 1, name: limit, id: `limit-${limit}`, value: key?.limits?.[limit],
  }));
  const problem = h("div", {});
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const given = limits.filter((each) => each.value).map((each) => [each.name, Number(each.value)]);
    const patterns = models.value.split(",").map((/** @type {string} */ each) => each.trim()).filter(Boolean);
    const all = {
      scopes: scopes.filter((each) => each.checked).map((each) => each.value), expires: expires.value || null,
      models: patterns.length ? patterns : null, limits: given.length ? Object.fromEntries(given) : null,
    };
    // A new key is described by what it has, a change also says what is set back.
    const body = key ? all : Object.fromEntries(Object.entries(all).filter(([, value]) => value !== null));
    try {
      await save(name.value, body);
      close();
    } catch (error) {
      problem.replaceChildren(fault(error));
    }
  };
  const close = modal(title, h("form", { class: "form wide", onsubmit: submit },
    !key && h("div", { class: "entry" }, h("label", { for: "key-name" }, "Name of the person or client *"), name, h("p", { class: "hint", id: "key-hint" }, hint)),
    h("fieldset", {}, h("legend", {}, "Scopes"), scopes.map((each) => h("label", { class: "check" }, each, SCOPES[each.value]))),
    h("fieldset", { class: "pairs" }, h("legend", {}, "Limits"), limits.map((each) => h("div", { class: "entry" }, h("label", { for: each.id }, LIMITS[each.name]), each))),
    h("div", { class: "entry" }, h("label", { for: "key-models" }, "Models, comma-separated, * for any characters"), models),
    h("div", { class: "entry" }, h("label", { for: "key-expires" }, "Last day"), expires),
    h("div", { class: "row end" }, problem, button("Cancel", () => close()),
      button(key ? "Save" : "Make the key", () => {}, { kind: "primary", type: "submit" }))), key ? undefined : name);
}

/** @param {HTMLElement} fresh @param {string} name @param {string} key */
function showOnce(fresh, name, key) {
  fresh.replaceChildren(h("div", { class: "panel fresh", role: "status" },
    h("h2", {}, `The key of ${name}`), h("p", {}, "It is shown only now. Copy it and keep it safe."),
    h("pre", { tabindex: "0" }, key),
    h("div", { class: "row" }, copyButton(() => key, "Copy the key", "primary"), button("I have saved it", () => {
      fresh.replaceChildren();
      reload();
    }))));
  fresh.scrollIntoView({ block: "nearest" });
}
