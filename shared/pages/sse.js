// Server-sent events out of a stream of bytes.
// Source: https://html.spec.whatwg.org/multipage/server-sent-events.html

/**
 * @param {ReadableStream<Uint8Array>|null} body
 * @returns {AsyncGenerator<{event: string, data: string}>}
 */
export async function* events(body) {
  if (!body) return;
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let held = "";
  let event = "";
  /** @type {string[]} */
  let data = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      held += done ? decoder.decode() : decoder.decode(value, { stream: true });
      // A carriage return at the end may be half of a line's end.
      const lines = held.split(/\r\n|\n|\r(?!$)/);
      held = lines.pop() ?? "";
      for (const line of lines) {
        if (line === "") {
          if (data.length) yield { event, data: data.join("\n") };
          event = "";
          data = [];
        } else if (line.startsWith("data:")) {
          data.push(line.slice(5).replace(/^ /, ""));
        } else if (line.startsWith("event:")) {
          event = line.slice(6).trim();
        }
      }
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
