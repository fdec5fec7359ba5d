// A server of the TypeScript SDK. Its first argument is "http" or "stdio"; the former takes a port, of
// which 0 is a free one, and writes where it listens.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../node/", import.meta.url));
const { McpServer } = require("@modelcontextprotocol/sdk/server/mcp.js");
const { StdioServerTransport } = require("@modelcontextprotocol/sdk/server/stdio.js");
const { StreamableHTTPServerTransport } = require("@modelcontextprotocol/sdk/server/streamableHttp.js");
const { z } = require("zod");

function makeServer() {
  const server = new McpServer({ name: "foreign", version: "1" });
  server.registerTool(
    "add",
    {
      description: "Adds two numbers.",
      inputSchema: { a: z.number(), b: z.number() },
      outputSchema: { result: z.number() },
    },
    async ({ a, b }) => ({
      content: [{ type: "text", text: String(a + b) }],
      structuredContent: { result: a + b },
    }),
  );
  server.registerTool("fail", { description: "Fails." }, async () => {
    throw new Error("it went wrong");
  });
  server.registerTool("count", { description: "Reports progress." }, async ({ _meta, sendNotification }) => {
    for (const progress of [1, 2]) {
      const params = { progressToken: _meta.progressToken, progress, total: 2 };
      await sendNotification({ method: "notifications/progress", params });
    }
    return { content: [{ type: "text", text: "counted" }] };
  });
  server.registerResource("note", "note://one", { description: "A note." }, async (uri) => ({
    contents: [{ uri: uri.href, mimeType: "text/plain", text: "noted" }],
  }));
  server.registerPrompt(
    "review",
    { description: "Asks for a review.", argsSchema: { language: z.string() } },
    ({ language }) => ({
      messages: [{ role: "user", content: { type: "text", text: `Review this ${language}` } }],
    }),
  );
  return server;
}

async function serveHttp() {
  const transports = new Map();
  const listener = createServer(async (request, response) => {
    const id = request.headers["mcp-session-id"];
    let transport = transports.get(id);
    if (transport === undefined) {
      if (id !== undefined) {
        response.writeHead(404).end();
        return;
      }
      transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        onsessioninitialized: (made) => transports.set(made, transport),
        onsessionclosed: (ended) => transports.delete(ended),
      });
      await makeServer().connect(transport);
    }
    await transport.handleRequest(request, response);
  });
  await new Promise((resolve) => listener.listen(Number(process.argv[3]), "127.0.0.1", resolve));
  process.stdout.write(`http://127.0.0.1:${listener.address().port}/mcp\n`);
}

if (process.argv[2] === "stdio") {
  await makeServer().connect(new StdioServerTransport());
} else {
  await serveHttp();
}
