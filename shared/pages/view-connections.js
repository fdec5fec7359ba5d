// Connections to other MCP servers: add, authorize, try, end.

import { button, h, icon } from "./dom.js";
import { get, post } from "./api.js";
import { jsonBlock } from "./code.js";
import { ago } from "./format.js";
import { confirm, drawer, empty, fault, loading, toast } from "./notice.js";
import { go } from "./router.js";
import { schemaForm } from "./schema-form.js";
import { step } from "./trace.js";

const POLL_MILLISECONDS = 3000;
const MAX_WAIT_MILLISECONDS = 600_000;
const WORDS = /** @type {Record<string, string>} */ ({
  connecting: "connecting", connected: "connected", authorizing: "sign in at the server", confirming: "confirm the code",
  authorization_failed: "sign-in failed",
});

/** @type {import("./router.js").View} */
export function show(place, route) {
  return loading(place, async () => {
    const found = (await get("/mcp/clients", route.signal)).clients;
    const current = found.find((/** @type {any} */ each) => each.client_id === route.rest[0]);
    const list = h("nav", { class: "list", "aria-label": "Connections" }, found.map((/** @type {any} */ each) =>
      h("a", { href: `#/connections/${each.client_id}`, "aria-current": each === current && "true" },
        h("span", {}, each.name), state(each))));
    const detail = h("div", { class: "page" });
    const side = h("aside", { class: "side", "aria-label": "Your connections" }, h("a", { class: "btn", href: "#/connections/new" }, icon("plus"), "Add a connection"), list);
    const all = found.length ? button("All connections", () => drawer(side, "Connections"), { kind: "narrow", icon: "menu" }) : null;
    if (current) showDetail(detail, current, all, route.signal);
    else showAdd(detail, found.length, all, route.signal);
    return h("div", { class: "split" }, side, detail);
  });
}

/** @param {any} client */
function state(client) {
  const kind = client.status === "connected" ? "ok" : client.status === "authorization_failed" ? "danger" : "muted";
  return h("span", { class: `state ${kind}` }, WORDS[client.status] ?? client.status);
}

/** @param {HTMLElement} place @param {number} count @param {Node|null} all @param {AbortSignal} signal */
function showAdd(place, count, all, signal) {
  const url = h("input", { class: "field", id: "mcp-url", type: "url", required: true, placeholder: "https://server.example/mcp" });
  const name = h("input", { class: "field", id: "mcp-name", maxlength: 64, placeholder: "the host's name" });
  const kind = h("select", { class: "field", id: "mcp-auth" },
    h("option", { value: "none" }, "none"), h("option", { value: "bearer" }, "a token"), h("option", { value: "oauth" }, "sign in (OAuth)"));
  const token = h("input", { class: "field mono", id: "mcp-token", type: "password", autocomplete: "off" });
  const tokenEntry = h("div", { class: "entry", hidden: true }, h("label", { for: "mcp-token" }, "Token"), token);
  kind.addEventListener("change", () => (tokenEntry.hidden = kind.value !== "bearer"));
  const result = h("div", { "aria-live": "polite" });
  const form = h("form", {
    class: "form panel",
    onsubmit: async (/** @type {Event} */ event) => {
      event.preventDefault();
      const started = performance.now();
      result.replaceChildren(h("div", { class: "trace" }, step("connect", url.value, "run")));
      /** @type {Record<string, unknown>} */
      const body = { mcp_url: url.value, auth_type: kind.value };
      if (name.value) body.name = name.value;
      if (kind.value === "bearer") body.bearer_token = token.value;
      try {
        const made = await post("/mcp/connect", body);
        if (made.authorization_url) result.replaceChildren(authorize(made, signal));
        else go(`#/connections/${made.client_id}`);
      } catch (error) {
        result.replaceChildren(h("div", { class: "trace" }, step("connect", url.value, "bad", performance.now() - started)), fault(error));
      }
    },
  },
  h("div", { class: "entry" }, h("label", { for: "mcp-url" }, "Address of the MCP server *"), url),
  h("div", { class: "entry" }, h("label", { for: "mcp-name" }, "Name"), name),
  h("div", { class: "entry" }, h("label", { for: "mcp-auth" }, "Credentials"), kind), tokenEntry,
  h("div", { class: "row" }, button("Connect", () => {}, { kind: "primary", type: "submit" })), result);
  place.replaceChildren(h("div", { class: "head" }, h("h1", {}, "Add a connection"), all),
    h("p", { class: "muted" }, `${count ? "" : "No connections yet. "}Connect another MCP server: chats can call its tools then, and you can try them here.`), form);
}

/** @param {any} made @param {AbortSignal} signal */
function authorize(made, signal) {
  let address = null;
  try {
    const url = new URL(made.authorization_url);
    const isLocal = url.protocol === "http:" && (url.hostname === "localhost" || url.hostname === "127.0.0.1");
    if (url.protocol === "https:" || isLocal) address = url.href;
  } catch {
    address = null;
  }
  if (!address) return fault(new Error("The server's address for signing in is not https."));
  const code = h("input", { class: "field mono", id: "mcp-code", required: true, maxlength: 16, autocomplete: "off" });
  const problem = h("div", {});
  waitForCode(made.client_id, code, signal);
  return h("form", {
    class: "form",
    onsubmit: async (/** @type {Event} */ event) => {
      event.preventDefault();
      try {
        await post("/mcp/oauth/confirm", { client_id: made.client_id, code: code.value.trim() });
        toast("Connected");
        go(`#/connections/${made.client_id}`);
      } catch (error) {
        problem.replaceChildren(fault(error));
      }
    },
  },
  h("p", {}, "1. ", h("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, "Sign in at the server"), ". It ends with 8 characters."),
  h("div", { class: "entry" }, h("label", { for: "mcp-code" }, "2. The 8 characters"), code), problem,
  button("Confirm", () => {}, { kind: "primary", type: "submit" }));
}

/** Moves the focus to the code once the server has sent the browser back. @param {string} id @param {HTMLElement} code @param {AbortSignal} signal */
async function waitForCode(id, code, signal) {
  const end = Date.now() + MAX_WAIT_MILLISECONDS;
  while (Date.now() < end && !signal.aborted) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
    if (!code.isConnected) return;
    const found = await get(`/mcp/client/${encodeURIComponent(id)}`, signal).catch(() => null);
    if (found?.metadata.status !== "confirming") continue;
    if (document.activeElement === document.body) code.focus();
    return;
  }
}

/** @param {HTMLElement} place @param {any} client @param {Node|null} all @param {AbortSignal} signal */
function showDetail(place, client, all, signal) {
  const id = encodeURIComponent(client.client_id);
  const body = h("div", {});
  const tabs = /** @type {[string, () => Promise<Node>][]} */ ([
    ["Tools", async () => {
      const started = performance.now();
      const rail = h("div", { class: "trace" }, step("tools/list", client.name, "run"));
      attempt.replaceChildren(rail);
      try {
        const found = await get(`/mcp/list_tools?client_id=${id}`, signal);
        rail.replaceChildren(step("tools/list", `${found.tools.length} tools`, "done", performance.now() - started));
        if (!found.tools.length) return empty("This server offers no tools.");
        return h("div", {}, found.tools.map((/** @type {any} */ tool) => remote(tool.name, tool.title, tool.description, tool.inputSchema ?? {}, "Run",
          (values) => post("/mcp/call_tool", { client_id: client.client_id, tool_name: tool.name, arguments: values }))));
      } catch (error) {
        rail.replaceChildren(step("tools/list", /** @type {any} */ (error).message, "bad", performance.now() - started));
        throw error;
      }
    }],
    ["Resources", async () => {
      const found = (await get(`/mcp/list_resources?client_id=${id}`, signal)).resources;
      if (!found.length) return empty("This server offers no resources.");
      return h("div", {}, found.map((/** @type {any} */ each) => remote(each.uri, each.title ?? each.name, each.description, {}, "Read",
        () => post("/mcp/read_resource", { client_id: client.client_id, uri: each.uri }))));
    }],
    ["Prompts", async () => {
      const found = (await get(`/mcp/list_prompts?client_id=${id}`, signal)).prompts;
      if (!found.length) return empty("This server offers no prompts.");
      return h("div", {}, found.map((/** @type {any} */ each) => remote(each.name, each.title, each.description, argumentsSchema(each), "Get",
        (values) => post("/mcp/get_prompt", { client_id: client.client_id, prompt_name: each.name, arguments: values }))));
    }],
  ]);
  const attempt = h("div", { class: "attempt" });
  const choose = (/** @type {number} */ index) => {
    buttons.forEach((each, at) => each.setAttribute("aria-pressed", String(at === index)));
    loading(body, tabs[index][1]);
  };
  const buttons = tabs.map(([label], index) => h("button", { type: "button", "aria-pressed": "false", onclick: () => choose(index) }, label));
  place.replaceChildren(
    h("div", { class: "head" }, h("h1", {}, client.name), state(client), all,
      button("End", async () => {
        if (!(await confirm("End this connection?", "Its credentials are removed, and chats lose its tools.", "End"))) return;
        await post("/mcp/disconnect", { client_id: client.client_id });
        go("#/connections/new");
      }, { kind: "stop" })),
    h("p", { class: "muted mono small" }, client.mcp_url ?? client.command ?? ""),
    h("p", { class: "muted small pre" }, `Credentials: ${client.auth_type}. Made ${ago(client.created_at)}, used ${ago(client.last_activity)}.`));
  if (client.status !== "connected") {
    place.append(fault(new Error(client.status === "confirming" || client.status === "authorizing"
      ? "The sign-in at this server is not finished. End this connection, and add it again to start over."
      : `This connection cannot be used: ${WORDS[client.status] ?? client.status}. End it, and add it again.`)));
    return;
  }
  place.append(attempt, h("div", { class: "seg", role: "group", "aria-label": "What it offers" }, buttons), body);
  choose(0);
}

/** @param {any} prompt */
function argumentsSchema(prompt) {
  const all = prompt.arguments ?? [];
  return {
    properties: Object.fromEntries(all.map((/** @type {any} */ each) => [each.name, { type: "string", description: each.description }])),
    required: all.filter((/** @type {any} */ each) => each.required).map((/** @type {any} */ each) => each.name),
  };
}

/**
 * Something that another server offers, with a form to try it.
 * @param {string} name @param {string|undefined} title @param {string|undefined} description @param {any} schema
 * @param {string} action @param {(values: any) => Promise<any>} send
 */
function remote(name, title, description, schema, action, send) {
  const details = h("details", { class: "panel remote" }, h("summary", {}, h("code", {}, name), title && title !== name && h("span", { class: "muted" }, title)));
  details.addEventListener("toggle", () => {
    const form = schemaForm(schema);
    const result = h("div", { class: "result", "aria-live": "polite" });
    details.append(h("p", { class: "muted pre" }, description ?? ""), h("form", {
      onsubmit: async (/** @type {Event} */ event) => {
        event.preventDefault();
        const started = performance.now();
        result.replaceChildren(h("div", { class: "trace" }, step(name, "", "run")));
        try {
          const answer = await send(form.read());
          const isError = answer.status === "error";
          result.replaceChildren(h("div", { class: "trace" }, step(name, "", isError ? "bad" : "done", performance.now() - started)), jsonBlock(answer));
        } catch (error) {
          result.replaceChildren(fault(error));
        }
      },
    }, Object.keys(schema.properties ?? {}).length ? form.node : null,
    h("div", { class: "row" }, button(action, () => {}, { kind: "primary", type: "submit", name: `${action} ${name}` })), result));
  }, { once: true });
  return details;
}
