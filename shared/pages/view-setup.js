// How clients are set up, with this address, and a test of it.

import { button, h } from "./dom.js";
import { get, send } from "./api.js";
import { codeBlock, copyButton } from "./code.js";
import { may, session } from "./session.js";
import { clients } from "./snippets.js";
import { step } from "./trace.js";

/** @type {import("./router.js").View} */
export function show(place, route) {
  const all = clients(location.origin);
  const current = all.find((each) => each.name === route.rest[0]) ?? all[0];
  const groups = [...new Set(all.map((each) => each.group))];
  const rail = h("div", { class: "trace" });
  place.replaceChildren(h("div", { class: "page" },
    h("div", { class: "head" }, h("h1", {}, "Set up a client"), h("span", { class: "mono muted" }, location.origin)),
    h("div", { class: "setup" },
      h("nav", { class: "clients", "aria-label": "Clients" }, groups.map((group) => [h("h2", {}, group),
        all.filter((each) => each.group === group).map((each) =>
          h("a", { href: `#/setup/${each.name}`, "aria-current": each === current && "true" }, each.title))])),
      h("ol", { class: "steps" },
        current.steps.map((each) => h("li", {}, h("h2", {}, current.title), h("p", {}, each.title), codeBlock(each.language, each.text))),
        h("li", {}, h("h2", {}, "Give it a key"),
          h("p", {}, "A key of its own for each client shows who spent what, and can be revoked alone."),
          h("div", { class: "row" }, session.key && copyButton(() => session.key ?? "", "Copy my key", ""),
            may("admin") && h("a", { class: "btn ghost", href: "#/keys" }, "Make a new key"),
            !session.me && h("a", { class: "btn", href: "#/chat" }, "Sign in"))),
        h("li", {}, h("h2", {}, "Test the address"), h("p", {}, "Asks this app from your browser, with your key. Costs nothing."),
          button("Test", () => test(rail, route.signal), { kind: "primary", disabled: !session.me }),
          h("div", { class: "panel attempts" }, rail))))));
  place.querySelector(".clients [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
}

/** @param {HTMLElement} rail @param {AbortSignal} signal */
async function test(rail, signal) {
  rail.replaceChildren();
  const mcp = (/** @type {string} */ method, /** @type {unknown} */ params) => async () => {
    const response = await send("POST", "/mcp", {
      json: { jsonrpc: "2.0", id: 1, method, params }, signal,
      headers: { Accept: "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25" },
    });
    const text = await response.text();
    const data = text.startsWith("{") ? text : (/^data: ?(\{.*)$/m.exec(text)?.[1] ?? "{}");
    const answer = JSON.parse(data);
    if (answer.error) throw new Error(answer.error.message);
    return answer.result;
  };
  const client = { name: "page", version: "1" };
  const checks = /** @type {[string, string, () => Promise<any>, (found: any) => string][]} */ ([
    ["GET", "/me", () => get("/me", signal), (found) => `${found.principal}: ${found.scopes.join(", ")}`],
    ["POST", "/mcp initialize", mcp("initialize", { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: client }), (found) => `revision ${found.protocolVersion}`],
    ["POST", "/mcp tools/list", mcp("tools/list", {}), (found) => `${found.tools.length} tools`],
    ["GET", "/v1/models", () => get("/v1/models", signal), (found) => `${found.data.length} models`],
  ]);
  for (const [method, path, ask, say] of checks) {
    const running = step(`${method} ${path}`, "", "run");
    rail.append(running);
    const started = performance.now();
    try {
      running.replaceWith(step(`${method} ${path}`, say(await ask()), "done", performance.now() - started));
    } catch (error) {
      running.replaceWith(step(`${method} ${path}`, /** @type {any} */ (error).message, "bad", performance.now() - started));
    }
  }
}
