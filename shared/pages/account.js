// The right end of the header: what was spent today, who is signed in, whom they speak for.

import { button, h, icon } from "./dom.js";
import { get } from "./api.js";
import { forgetTokens } from "./entra.js";
import { money } from "./format.js";
import { fault, modal } from "./notice.js";
import { forget, may, session, speakFor } from "./session.js";

/** Fills the header, and what else names who is signed in. */
export function showAccount() {
  const keys = /** @type {HTMLElement} */ (document.querySelector(".tabs a[href='#/keys']"));
  keys.hidden = Boolean(session.me) && !may("admin");
  const place = /** @type {HTMLElement} */ (document.getElementById("account"));
  const band = /** @type {HTMLElement} */ (document.getElementById("band"));
  band.replaceChildren(...(session.user ? [`You speak for ${session.user}.`, button("End", () => leave(null))] : []));
  band.hidden = !session.user;
  if (!session.me) return place.replaceChildren();
  const meter = h("a", { class: "meter", href: "#/usage", hidden: true });
  const who = h("details", { class: "menu who" }, h("summary", { class: "btn ghost", "aria-label": `Account: ${name()}` }, h("span", {}, name()), icon("down")),
    h("div", { class: "menu-body" },
      h("p", { class: "small muted" }, `Scopes: ${session.me.scopes.join(", ")}`),
      session.me.expires && h("p", { class: "small muted" }, `Ends ${session.me.expires}`),
      theme(), (may("act-as") || session.user) && button("Speak for…", () => askUser()),
      button("Sign out", () => {
        forget();
        forgetTokens();
        location.hash = "#/chat";
        location.reload();
      })));
  place.replaceChildren(meter, who);
  return fillMeter(meter);
}

/** Asks again who this is and what is used, after something was paid for. */
export async function refreshAccount() {
  try {
    session.me = await get("/me");
  } catch {
    return;
  }
  const meter = /** @type {HTMLElement|null} */ (document.querySelector("#account .meter"));
  if (meter) await fillMeter(meter);
}

/** @param {HTMLElement} meter */
async function fillMeter(meter) {
  const limit = session.me?.limits?.usd_per_day;
  const today = new Date().toISOString().slice(0, 10);
  const whose = encodeURIComponent(session.me.principal);
  const used = limit ? (limit.used ?? 0)
    : (await get(`/usage?from=${today}&to=${today}&principal=${whose}`).catch(() => null))?.total.cost_usd;
  meter.hidden = used == null;
  if (used == null) return;
  meter.replaceChildren(
    h("span", {}, h("b", { class: "cost" }, money(used)), h("span", { class: "muted" }, limit ? ` of ${money(limit.limit)} today` : " today")),
    limit ? h("progress", { class: "cost", value: used, max: limit.limit || 1, "aria-label": "Spent today" }) : "");
}

function name() {
  return session.me.display_name ?? session.me.name ?? session.me.principal;
}

function askUser() {
  const field = h("input", { class: "field mono", id: "user", maxlength: 128, pattern: "[A-Za-z0-9._@\\-:]+", required: true, autocomplete: "off" });
  const problem = h("div", {});
  const close = modal("Speak for a user", h("form", {
    class: "form",
    onsubmit: async (/** @type {Event} */ event) => {
      event.preventDefault();
      const before = session.user;
      session.user = field.value.trim();
      try {
        await get("/me");
        close();
        leave(session.user);
      } catch (error) {
        session.user = before;
        problem.replaceChildren(fault(error));
      }
    },
  }, h("p", {}, "What you do next is stored for, counted for and limited as that user."),
  h("div", { class: "entry" }, h("label", { for: "user" }, "User"), field), problem,
  h("div", { class: "row end" }, button("Cancel", () => close()), button("Speak for this user", () => {}, { kind: "primary", type: "submit" }))), field);
}

/** Starts over as another user, since nothing that is shown is theirs. @param {string|null} user */
function leave(user) {
  speakFor(user);
  location.hash = "#/chat";
  location.reload();
}

function theme() {
  const choose = h("select", { class: "field", "aria-label": "Colours" },
    [["system", "Colours: as the system"], ["light", "Colours: light"], ["dark", "Colours: dark"]].map(([value, label]) => h("option", { value }, label)));
  choose.value = localStorage.getItem("theme") ?? "system";
  choose.addEventListener("change", () => {
    if (choose.value === "system") localStorage.removeItem("theme");
    else localStorage.setItem("theme", choose.value);
    if (choose.value === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choose.value;
  });
  return choose;
}
