// Keys of others, for administrators.

import { button, h } from "./dom.js";
import { get, post, remove, send } from "./api.js";
import { table } from "./chart.js";
import { copyButton } from "./code.js";
import { confirm, empty, fault, loading, toast } from "./notice.js";
import { may } from "./session.js";

const SCOPES = ["chat", "tools", "connections", "openai", "act-as", "admin"];
const DEFAULTS = new Set(["chat", "tools", "connections", "openai"]);
const LIMITS = ["requests_per_minute", "requests_per_day", "tokens_per_day", "tokens_per_month", "usd_per_day", "usd_per_month", "parallel"];

/** @type {import("./router.js").View} */
export function show(place, route) {
  if (!may("admin")) {
    place.replaceChildren(h("div", { class: "page" }, h("h1", {}, "Keys"),
      empty("This key does not have the scope admin. Ask the person who runs the app.")));
    return;
  }
  return loading(place, async () => {
    const keys = (await get("/keys", route.signal)).keys;
    const fresh = h("div", {});
    const reload = () => dispatchEvent(new HashChangeEvent("hashchange"));
    return h("div", { class: "page" },
      h("div", { class: "head" }, h("h1", {}, "Keys")),
      fresh,
      h("details", { class: "panel", open: !keys.length }, h("summary", {}, "Make a key"), maker(fresh)),
      keys.length
        ? h("div", { class: "panel" }, table("Keys", [{ name: "Name" }, { name: "Scopes" }, { name: "Limits", kind: "wide" }, { name: "Ends", kind: "wide" }, { name: "" }],
          keys.map((/** @type {any} */ key) => [
            h("code", {}, key.name), (key.scopes ?? []).join(", "),
            Object.entries(key.limits ?? {}).map(([name, value]) => `${name} ${value}`).join(", ") || "default", key.expires ?? "never",
            h("div", { class: "row" },
              button("Rotate", () => rotate(key.name, fresh), { name: `Rotate the key ${key.name}` }),
              button("Delete", async () => {
                if (!(await confirm("Delete this key?", `Whoever uses ${key.name} is kept out within 30 seconds.`, "Delete", key.name))) return;
                await remove(`/keys/${encodeURIComponent(key.name)}`);
                toast("Deleted");
                reload();
              }, { kind: "ghost", name: `Delete the key ${key.name}` })),
          ])))
        : empty("No stored keys yet."));
  });
}

/** @param {HTMLElement} fresh */
function maker(fresh) {
  const name = h("input", { class: "field", id: "key-name", required: true, maxlength: 128 });
  const expires = h("input", { class: "field", id: "key-expires", type: "date" });
  const models = h("input", { class: "field", id: "key-models", placeholder: "any" });
  const scopes = SCOPES.map((scope) => h("input", { type: "checkbox", value: scope, checked: DEFAULTS.has(scope), id: `scope-${scope}` }));
  const limits = LIMITS.map((limit) => h("input", { class: "field", type: "number", min: 0, step: "any", name: limit, id: `limit-${limit}` }));
  const problem = h("div", {});
  return h("form", {
    class: "form",
    onsubmit: async (/** @type {Event} */ event) => {
      event.preventDefault();
      problem.replaceChildren();
      const given = limits.filter((each) => each.value).map((each) => [each.name, Number(each.value)]);
      /** @type {Record<string, unknown>} */
      const body = { name: name.value, scopes: scopes.filter((each) => each.checked).map((each) => each.value) };
      if (expires.value) body.expires = expires.value;
      if (models.value.trim()) body.models = models.value.split(",").map((/** @type {string} */ each) => each.trim());
      if (given.length) body.limits = Object.fromEntries(given);
      try {
        const made = await post("/keys", body);
        showOnce(fresh, made.name, made.key);
      } catch (error) {
        problem.replaceChildren(fault(error));
      }
    },
  },
  h("div", { class: "entry" }, h("label", { for: "key-name" }, "Name *"), name),
  h("fieldset", {}, h("legend", {}, "Scopes"), scopes.map((each, index) => h("label", { class: "check" }, each, SCOPES[index]))),
  h("details", {}, h("summary", {}, "Limits, models and end"),
    limits.map((each) => h("div", { class: "entry" }, h("label", { for: each.id }, each.name), each)),
    h("div", { class: "entry" }, h("label", { for: "key-models" }, "Models, comma-separated, * for any characters"), models),
    h("div", { class: "entry" }, h("label", { for: "key-expires" }, "Ends on"), expires)),
  problem, button("Make the key", () => {}, { kind: "primary", type: "submit" }));
}

/** @param {string} name @param {HTMLElement} fresh */
async function rotate(name, fresh) {
  const sentence = "A new key is made. The old one works for another day.";
  if (!(await confirm(`Rotate the key ${name}?`, sentence, "Rotate"))) return;
  try {
    const response = await send("POST", `/keys/${encodeURIComponent(name)}/rotate`, { json: { overlap_seconds: 86_400 } });
    showOnce(fresh, name, (await response.json()).key);
  } catch (error) {
    fresh.replaceChildren(fault(error));
  }
}

/** @param {HTMLElement} fresh @param {string} name @param {string} key */
function showOnce(fresh, name, key) {
  const block = h("div", { class: "panel fresh", role: "status" },
    h("h2", {}, `The key of ${name}`), h("p", {}, "It is shown only now. Copy it and keep it safe."),
    h("pre", { tabindex: "0" }, key),
    h("div", { class: "row" }, copyButton(() => key, "Copy the key"), button("I have saved it", () => {
      fresh.replaceChildren();
      dispatchEvent(new HashChangeEvent("hashchange"));
    })));
  fresh.replaceChildren(block);
}
