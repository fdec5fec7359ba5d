// Texts to copy: how clients are set up, and how a tool is called.

/** @typedef {{name: string, title: string, group: string, steps: {title: string, language: string, text: string}[]}} Client */

/** @param {string} origin @returns {Client[]} */
export function clients(origin) {
  const mcp = `${origin}/mcp`;
  const json = (/** @type {unknown} */ value) => JSON.stringify(value, null, 2);
  return [
    {
      name: "vscode", title: "VS Code", group: "MCP clients",
      steps: [{
        title: "Save this as .vscode/mcp.json. VS Code asks for the key once and stores it.", language: "json",
        text: json({
          inputs: [{ id: "key", type: "promptString", description: "API key", password: true }],
          servers: { openai: { type: "http", url: mcp, headers: { Authorization: "Bearer ${input:key}" } } },
        }),
      }],
    },
    {
      name: "claude-code", title: "Claude Code", group: "MCP clients",
      steps: [{
        title: "Run this, with your key in place of KEY.", language: "sh",
        text: `claude mcp add --transport http openai ${mcp} --header "Authorization: Bearer KEY"`,
      }],
    },
    {
      name: "claude-desktop", title: "Claude Desktop", group: "MCP clients",
      steps: [{
        title: "Add this to claude_desktop_config.json. It needs Node.js.", language: "json",
        text: json({ mcpServers: { openai: { command: "npx", args: ["-y", "mcp-remote", mcp, "--header", "Authorization:${AUTH}"], env: { AUTH: "Bearer KEY" } } } }),
      }],
    },
    {
      name: "cursor", title: "Cursor", group: "MCP clients",
      steps: [{
        title: "Save this as .cursor/mcp.json.", language: "json",
        text: json({ mcpServers: { openai: { url: mcp, headers: { Authorization: "Bearer KEY" } } } }),
      }],
    },
    {
      name: "codex", title: "Codex", group: "Your own code",
      steps: [{
        title: "Add this to ~/.codex/config.toml and put the key into GATEWAY_KEY.", language: "toml",
        text: `model = "gpt-6-luna"\nmodel_provider = "gateway"\n\n[model_providers.gateway]\nname = "Gateway"\nbase_url = "${origin}/v1"\nenv_key = "GATEWAY_KEY"\nwire_api = "responses"\n\n[mcp_servers.openai]\nurl = "${mcp}"\nbearer_token_env_var = "GATEWAY_KEY"`,
      }],
    },
    {
      name: "openai-python", title: "OpenAI SDK, Python", group: "Your own code",
      steps: [{
        title: "Another base URL and a key of this app are all that changes.", language: "python",
        text: `from openai import OpenAI\n\nclient = OpenAI(base_url="${origin}/v1", api_key="KEY")\ncompletion = client.chat.completions.create(\n    model="gpt-6-luna",\n    messages=[{"role": "user", "content": "Hello"}],\n)\nprint(completion.choices[0].message.content)`,
      }],
    },
    {
      name: "openai-typescript", title: "OpenAI SDK, TypeScript", group: "Your own code",
      steps: [{
        title: "Another base URL and a key of this app, here from GATEWAY_KEY, are all that changes.", language: "typescript",
        text: `import OpenAI from "openai";\n\nconst client = new OpenAI({ baseURL: "${origin}/v1", apiKey: process.env.GATEWAY_KEY });\nconst completion = await client.chat.completions.create({\n  model: "gpt-6-luna",\n  messages: [{ role: "user", content: "Hello" }],\n});\nconsole.log(completion.choices[0].message.content);`,
      }],
    },
    {
      name: "curl", title: "curl", group: "Your own code",
      steps: [{
        title: "Ask the agent, which calls tools.", language: "sh",
        text: `curl -s ${origin}/chat -H "Authorization: Bearer KEY" -H "Content-Type: application/json" \\\n  -d '{"message": "What time is it on the server?"}'`,
      }],
    },
  ];
}

/**
 * Calls of a tool that do what the form does.
 * @param {string} origin @param {string} name @param {unknown} values
 */
export function toolCalls(origin, name, values) {
  const body = JSON.stringify(values);
  const quoted = body.replaceAll("'", `'\\''`);
  return {
    curl: `curl -s ${origin}/tools/${name} -H "Authorization: Bearer KEY" -H "Content-Type: application/json" \\\n  -d '${quoted}'`,
    Python: `import httpx\n\nresponse = httpx.post(\n    "${origin}/tools/${name}",\n    headers={"Authorization": "Bearer KEY"},\n    json=${python(values)},\n    timeout=240,\n)\nprint(response.json())`,
    JavaScript: `const response = await fetch("${origin}/tools/${name}", {\n  method: "POST",\n  headers: { Authorization: "Bearer KEY", "Content-Type": "application/json" },\n  body: JSON.stringify(${body}),\n});\nconsole.log(await response.json());`,
    MCP: `curl -s ${origin}/mcp -H "Authorization: Bearer KEY" -H "Content-Type: application/json" \\\n  -H "Accept: application/json, text/event-stream" \\\n  -d '${JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name, arguments: values } }).replaceAll("'", `'\\''`)}'`,
  };
}

/** A value as Python writes it. @param {any} value @returns {string} */
function python(value) {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${python(each)}`).join(", ")}}`;
  }
  return JSON.stringify(value);
}
