// Connections to other MCP servers: add, authorize, try, end.

import { button, h } from "./dom.js";
import { get, post } from "./api.js";
import { jsonBlock } from "./code.js";
import { confirm, empty, fault, loading, toast } from "./notice.js";
import { go } from "./router.js";
import { may } from "./session.js";
import { schemaForm } from "./schema-form.js";

/** @type {import("./router.js").View} */
export function show(place, route) {
  if (!may("connections")) {
    place.replaceChildren(h("div", { class: "page" }, h("h1", {}, "Connections"),
      empty("This key does not have the scope connections. Ask the person who runs the app.")));
    return;
  }
  return loading(place, async () => {
    const found = (await get("/mcp/clients", route.signal)).clients;
    const current = found.find((/** @type {any} */ each) => each.client_id === route.rest[0]);
    const list = h("nav", { class: "list", "aria-label": "Connections" }, found.map((/** @type {any} */ each) =>
      h("a", { href: `#/connections/${each.client_id}`, "aria-current": each === current && "true" },
        h("span", {}, each.name), h("span", { class: each.status === "connected" ? "ok" : "danger" }, each.status))));
    const detail = h("div", { class: "page" });
    if (current) showDetail(detail, current, route.signal);
    else showAdd(detail, found.length);
    return h("div", { class: "split" },
      h("aside", { class: "side" }, h("a", { class: "btn", href: "#/connections/new" }, "Add a connection"), list), detail);
  });
}

/** @param {HTMLElement} place @param {number} count */
function showAdd(place, count) {
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
      result.replaceChildren(h("p", { class: "muted" }, "Connecting …"));
      /** @type {Record<string, unknown>} */
      const body = { mcp_url: url.value, auth_type: kind.value };
      if (name.value) body.name = name.value;
      if (kind.value === "bearer") body.bearer_token = token.value;
      try {
        const made = await post("/mcp/connect", body);
        if (made.status === "authorization_required") result.replaceChildren(authorize(made));
        else go(`#/connections/${made.client_id}`);
      } catch (error) {
        result.replaceChildren(fault(error));
      }
    },
  },
  h("div", { class: "entry" }, h("label", { for: "mcp-url" }, "Address of the MCP server *"), url),
  h("div", { class: "entry" }, h("label", { for: "mcp-name" }, "Name"), name),
  h("div", { class: "entry" }, h("label", { for: "mcp-auth" }, "Credentials"), kind), tokenEntry,
  button("Connect", () => {}, { kind: "primary", type: "submit" }), result);
  place.replaceChildren(h("div", { class: "head" }, h("h1", {}, "Add a connection")),
    h("p", { class: "muted" }, count ? "The tools of your connections are there in chats." : "No connections yet. The tools of a connection are there in chats."), form);
}

/** @param {any} made */
function authorize(made) {
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

/** @param {HTMLElement} place @param {any} client @param {AbortSignal} signal */
function showDetail(place, client, signal) {
  const id = encodeURIComponent(client.client_id);
  const body = h("div", {});
  const tabs = /** @type {[string, () => Promise<Node>][]} */ ([
    ["Tools", async () => {
      const found = await get(`/mcp/list_tools?client_id=${id}`, signal);
      return h("div", {}, found.tools.map((/** @type {any} */ tool) => remoteTool(client.client_id, tool)));
    }],
    ["Resources", async () => jsonBlock((await get(`/mcp/list_resources?client_id=${id}`, signal)).resources)],
    ["Prompts", async () => jsonBlock((await get(`/mcp/list_prompts?client_id=${id}`, signal)).prompts)],
  ]);
  const choose = (/** @type {number} */ index) => {
    buttons.forEach((each, at) => each.setAttribute("aria-pressed", String(at === index)));
    loading(body, tabs[index][1]);
  };
  const buttons = tabs.map(([label], index) => h("button", { type: "button", "aria-pressed": "false", onclick: () => choose(index) }, label));
  place.replaceChildren(
    h("div", { class: "head" }, h("h1", {}, client.name), h("span", { class: client.status === "connected" ? "ok" : "danger" }, client.status),
      button("End", async () => {
        if (!(await confirm("End this connection?", "Its credentials are removed, and chats lose its tools.", "End"))) return;
        await post("/mcp/disconnect", { client_id: client.client_id });
        go("#/connections/new");
      }, { kind: "stop" })),
    h("p", { class: "muted mono" }, client.mcp_url ?? client.command ?? ""),
    h("div", { class: "seg", role: "group", "aria-label": "What it offers" }, buttons), body);
  choose(0);
}

/** @param {string} clientId @param {any} tool */
function remoteTool(clientId, tool) {
  const details = h("details", { class: "panel" }, h("summary", {}, h("code", {}, tool.name), " ", tool.title ?? ""));
  details.addEventListener("toggle", () => {
    const form = schemaForm(tool.inputSchema ?? {});
    const result = h("div", { "aria-live": "polite" });
    details.append(h("p", { class: "muted pre" }, tool.description ?? ""), h("form", {
      onsubmit: async (/** @type {Event} */ event) => {
        event.preventDefault();
        result.replaceChildren(h("p", { class: "muted" }, "Running …"));
        try {
          const answer = await post("/mcp/call_tool", { client_id: clientId, tool_name: tool.name, arguments: form.read() });
          result.replaceChildren(jsonBlock(answer));
        } catch (error) {
          result.replaceChildren(fault(error));
        }
      },
    }, form.node, button("Run", () => {}, { kind: "primary", type: "submit" }), result));
  }, { once: true });
  return details;
}
