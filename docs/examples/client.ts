// Asks the agent, shows what it does, saves what it makes: node client.ts "Draw a lighthouse"
//
// Needs Node.js 22.18 or later and no package. GATEWAY_URL is where the app answers, GATEWAY_KEY a key with the
// scopes chat and tools.

import { randomUUID } from "node:crypto";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

type Medium = { id: string; content_type: string };
type ApiError = { code: string; detail: string; request_id: string };
type Answer = {
  answer: string;
  conversation_id: string;
  tool_calls: { name: string; result: { media?: Medium[] } | null }[];
  usage: { cost_usd: number | null } | null;
};
type ChatEvent =
  | { type: "chat.created"; conversation_id: string }
  | { type: "chat.delta"; text: string }
  | { type: "chat.tool_call"; name: string; arguments: unknown }
  | { type: "chat.tool_progress" | "chat.tool_result"; name: string }
  | ({ type: "chat.completed" } & Answer)
  | ({ type: "chat.error" } & ApiError);

const GATEWAY_URL = process.env.GATEWAY_URL ?? "http://localhost:7071";
const HEADERS = { Authorization: `Bearer ${process.env.GATEWAY_KEY}` };
const ATTEMPTS = 3;
// Another request holds the conversation; a limit; storage or the app is not ready.
const RETRYABLE = new Set([409, 429, 503]);
const MAX_WAIT_SECONDS = 60;

class GatewayError extends Error {
  constructor(error: ApiError) {
    super(`${error.code}: ${error.detail} (request ${error.request_id})`);
  }
}

async function ask(message: string): Promise<Answer> {
  const request = {
    method: "POST",
    headers: {
      ...HEADERS,
      "Content-Type": "application/json",
      // With the same key a repeat returns the first answer, and nothing is paid for twice.
      "Idempotency-Key": randomUUID(),
    },
    body: JSON.stringify({ message, stream: true }),
  };
  for (let attempt = 1; ; attempt++) {
    const response = await fetch(`${GATEWAY_URL}/chat`, request);
    if (response.ok) return await follow(events(response));
    const text = await response.text();
    const seconds = secondsToWait(response, text, attempt);
    if (seconds === null || attempt === ATTEMPTS) throw new GatewayError(JSON.parse(text) as ApiError);
    await pause(1000 * seconds);
  }
}

// Returns after how many seconds to try again; null where that would not help soon.
function secondsToWait(response: Response, text: string, attempt: number): number | null {
  if (!RETRYABLE.has(response.status)) return null;
  // A spent quota, quota_exceeded, has the status of a limited rate and lasts for hours.
  if (response.status === 429 && (JSON.parse(text) as ApiError).code !== "rate_limited") return null;
  const seconds = Number(response.headers.get("Retry-After") ?? attempt);
  return seconds <= MAX_WAIT_SECONDS ? seconds : null;
}

// Yields the events of a stream; the data of each is one line of JSON.
async function* events(response: Response): AsyncGenerator<ChatEvent> {
  let rest = "";
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      if (line.startsWith("data: ")) yield JSON.parse(line.slice("data: ".length)) as ChatEvent;
    }
  }
}

// Prints what happens, and returns the last event: it is the whole answer.
async function follow(stream: AsyncGenerator<ChatEvent>): Promise<Answer> {
  for await (const event of stream) {
    if (event.type === "chat.delta") process.stdout.write(event.text);
    if (event.type === "chat.tool_call") console.log(`[${event.name} ${JSON.stringify(event.arguments)}]`);
    if (event.type === "chat.error") throw new GatewayError(event);
    if (event.type === "chat.completed") {
      console.log();
      return event;
    }
  }
  throw new Error("The stream ended without chat.completed.");
}

async function save(medium: Medium): Promise<string> {
  // Leads to the bytes for as long as the medium exists; the link in the answer expires.
  const response = await fetch(`${GATEWAY_URL}/media/${medium.id}`, { headers: HEADERS });
  if (!response.ok) throw new GatewayError((await response.json()) as ApiError);
  const folder = await mkdtemp(join(tmpdir(), "gateway-"));
  const path = join(folder, `${medium.id}.${medium.content_type.split("/")[1]}`);
  await writeFile(path, new Uint8Array(await response.arrayBuffer()));
  return path;
}

if (!process.env.GATEWAY_KEY) {
  console.error("Set GATEWAY_KEY to a key with the scopes chat and tools; 'make run' prints one.");
  process.exit(1);
}
try {
  const answer = await ask(process.argv.slice(2).join(" ") || "What is the server time?");
  for (const call of answer.tool_calls) {
    for (const medium of call.result?.media ?? []) console.log("saved", await save(medium));
  }
  const cost = answer.usage?.cost_usd ?? null;
  console.log("cost:", cost === null ? "unknown" : `$${cost.toFixed(6)}`);
} catch (error) {
  if (!(error instanceof GatewayError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
