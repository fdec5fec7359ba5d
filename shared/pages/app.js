// Start: who is here, and which view the address names.

import { button, h } from "./dom.js";
import { get, whenUnauthorized } from "./api.js";
import { money } from "./format.js";
import { fault } from "./notice.js";
import { arrive, beginView, readRoute } from "./router.js";
import { may, session, signOut, takeKeyFromAddress } from "./session.js";

const TITLES = /** @type {Record<string, string>} */ ({
  chat: "Chat", tools: "Tools", media: "Media", connections: "Connections", usage: "Usage", setup: "Set up", keys: "Keys",
});
const LOADERS = /** @type {Record<string, () => Promise<{show: import("./router.js").View}>>} */ ({
  chat: () => import("./view-chat.js"),
  tools: () => import("./view-tools.js"),
  media: () => import("./view-media.js"),
  connections: () => import("./view-connections.js"),
  usage: () => import("./view-usage.js"),
  setup: () => import("./view-setup.js"),
  keys: () => import("./view-keys.js"),
});

const main = /** @type {HTMLElement} */ (document.getElementById("main"));

async function start() {
  takeKeyFromAddress();
  session.config = await get("/pages/config.json").catch(() => ({}));
  /** @type {unknown} */
  let problem = null;
  if (session.key) {
    try {
      session.me = await get("/me");
    } catch (error) {
      problem = error;
      if (/** @type {any} */ (error).status === 401) signOut();
    }
  }
  whenUnauthorized(() => {
    signOut();
    signIn("This key is no longer accepted. Sign in again; drafts are kept.");
  });
  addEventListener("hashchange", () => show());
  if (problem && session.key) {
    main.replaceChildren(h("div", { class: "page" }, h("h1", {}, "This app cannot serve you now"), fault(problem, { label: "Try again", act: () => location.reload() })));
    return;
  }
  await show();
}

/** @param {string} [reason] */
async function signIn(reason) {
  document.body.classList.add("out");
  const { showSignIn } = await import("./view-signin.js");
  showSignIn(main, () => show(), reason);
  arrive("Sign in", main);
}

async function show() {
  const route = readRoute();
  const name = route.name in LOADERS ? route.name : "chat";
  const signal = beginView();
  if (!session.me && name !== "setup") return signIn();
  document.body.classList.toggle("out", !session.me);
  account();
  try {
    const view = await LOADERS[name]();
    if (signal.aborted) return;
    await view.show(main, { ...route, name, signal });
  } catch (error) {
    main.replaceChildren(h("div", { class: "page" }, h("h1", {}, TITLES[name]), fault(error, { label: "Try again", act: () => show() })));
  }
  arrive(TITLES[name], main);
}

function account() {
  const keys = /** @type {HTMLElement} */ (document.querySelector(".tabs a[href='#/keys']"));
  keys.hidden = !may("admin");
  const place = /** @type {HTMLElement} */ (document.getElementById("account"));
  const day = session.me?.limits?.usd_per_day;
  const used = day?.used;
  place.replaceChildren(
    ...(used == null ? [] : [h("a", { class: "meter", href: "#/usage" },
      h("span", {}, h("b", { class: "cost" }, money(used)), day?.limit != null && h("span", { class: "muted" }, ` of ${money(day.limit)} today`)),
      day?.limit != null && h("progress", { class: "cost", value: day.used ?? 0, max: day.limit, "aria-label": "Spent today" }))]),
    ...(session.me ? [h("details", { class: "menu who" }, h("summary", { class: "btn ghost" }, session.me.principal),
      h("div", { class: "menu-body" }, theme(), button("Sign out", () => {
        signOut();
        location.hash = "#/chat";
        location.reload();
      })))] : []));
}

function theme() {
  const choose = h("select", { class: "field", "aria-label": "Colours" },
    ["system", "light", "dark"].map((each) => h("option", { value: each }, each)));
  choose.value = localStorage.getItem("theme") ?? "system";
  choose.addEventListener("change", () => {
    if (choose.value === "system") localStorage.removeItem("theme");
    else localStorage.setItem("theme", choose.value);
    if (choose.value === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choose.value;
  });
  return choose;
}

start();
