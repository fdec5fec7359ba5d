// Start: who is here, and which view the address names.

import { h } from "./dom.js";
import { get, whenUnauthorized } from "./api.js";
import { refreshAccount, showAccount } from "./account.js";
import { accessToken, finishSignIn, forgetTokens, returnsFromEntra } from "./entra.js";
import { empty, fault } from "./notice.js";
import { arrive, beginView, readRoute } from "./router.js";
import { forget, may, session, takeKeyFromAddress } from "./session.js";

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
/** What a view needs; Media and Usage need any key. */
const SCOPES = /** @type {Record<string, string>} */ ({ chat: "chat", tools: "tools", connections: "connections", keys: "admin" });

const main = /** @type {HTMLElement} */ (document.getElementById("main"));

async function start() {
  takeKeyFromAddress();
  // Beside each other: a visitor who has a key need not wait for what only others need.
  const known = session.key && !returnsFromEntra() ? get("/me") : null;
  known?.catch(() => {});
  session.config = await get("/pages/config.json").catch(() => ({}));
  /** @type {any} */
  let problem = null;
  try {
    if (returnsFromEntra()) await finishSignIn();
    if (known) session.me = await known;
    else if (session.key || (await accessToken())) session.me = await get("/me");
  } catch (error) {
    problem = error;
  }
  if (problem?.status === 401) {
    forget();
    forgetTokens();
  }
  whenUnauthorized(signInOver);
  addEventListener("hashchange", () => {
    // The link of the console, opened where the page is already shown.
    if (takeKeyFromAddress()) location.reload();
    else show();
  });
  addEventListener("spent", () => refreshAccount());
  document.addEventListener("click", closeMenus);
  document.addEventListener("keydown", (event) => event.key === "Escape" && closeMenus());
  if (problem && problem.status !== 401 && (session.key || "status" in problem)) {
    main.replaceChildren(h("div", { class: "page" }, h("h1", {}, "This app cannot serve you now"),
      fault(problem, { label: "Try again", act: () => location.reload() })));
    return;
  }
  await show(problem?.message);
}

/** @param {string} [reason] */
async function signIn(reason) {
  document.body.classList.add("out");
  showAccount();
  const { showSignIn } = await import("./view-signin.js");
  showSignIn(main, () => show(), reason);
  arrive("Sign in", main);
}

/** @type {Promise<boolean>|null} */
let asking = null;

/** Asks for another key over the view, which keeps what was typed. */
function signInOver() {
  asking ??= import("./view-signin.js").then((view) => view.signInAgain()).finally(() => (asking = null));
  return asking;
}

/** @param {string} [reason] */
async function show(reason) {
  const route = readRoute();
  const name = route.name in LOADERS ? route.name : "chat";
  const signal = beginView();
  if (!session.me && name !== "setup") return signIn(reason);
  document.body.classList.toggle("out", !session.me);
  if (!document.querySelector("#account .who")) showAccount();
  const scope = SCOPES[name];
  try {
    if (session.me && scope && !may(scope)) {
      main.replaceChildren(h("div", { class: "page" }, h("div", { class: "head" }, h("h1", {}, TITLES[name])),
        empty(`This key has ${session.me.scopes.join(", ") || "no scope"}, not ${scope}. Ask the person who runs the app for it.`)));
    } else {
      const view = await LOADERS[name]();
      if (signal.aborted) return;
      await view.show(main, { ...route, name, signal });
    }
  } catch (error) {
    if (signal.aborted) return;
    main.replaceChildren(h("div", { class: "page" }, h("h1", {}, TITLES[name]), fault(error, { label: "Try again", act: () => show() })));
  }
  if (signal.aborted) return;
  if (!main.querySelector("h1")) main.prepend(h("h1", { class: "sr" }, TITLES[name]));
  arrive(TITLES[name], main);
}

/** @param {Event} [event] */
function closeMenus(event) {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!event || !menu.contains(/** @type {Node} */ (event.target))) menu.removeAttribute("open");
  }
}

start();
