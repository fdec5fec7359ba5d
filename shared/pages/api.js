// Requests to this app: the key, errors as sentences, pages, and streams of events.

import { accessToken } from "./entra.js";
import { session } from "./session.js";
import { events } from "./sse.js";

/** An error of the API, of the network, or of a stream that broke off. */
export class ApiError extends Error {
  /** @param {number} status @param {any} body @param {Headers} [headers] */
  constructor(status, body, headers) {
    const detail = body?.detail ?? body?.error?.message;
    const sentence = Array.isArray(detail)
      ? detail.map((each) => `${(each.loc ?? []).slice(1).join(".")}: ${each.msg}`).join("; ")
      : detail;
    super(sentence || `The server answered with status ${status}.`);
    this.status = status;
    this.code = body?.code ?? body?.error?.code ?? "";
    this.requestId = body?.request_id ?? headers?.get("x-request-id") ?? "";
    this.fields = Array.isArray(detail) ? detail : (body?.errors ?? []);
    this.retryAfter = Number(headers?.get("retry-after")) || null;
  }
}

/** @type {(() => Promise<boolean>) | null} Asks for another key; resolves to whether there is one. */
let signInAgain = null;

/** @param {() => Promise<boolean>} ask called when a key that was accepted no longer is */
export function whenUnauthorized(ask) {
  signInAgain = ask;
}

/** The headers that say who asks. @returns {Promise<Record<string, string>>} */
export async function credentials() {
  const bearer = session.key ?? (await accessToken());
  return { ...(bearer && { Authorization: `Bearer ${bearer}` }), ...(session.user && { "X-User-Id": session.user }) };
}

/**
 * @param {string} method
 * @param {string} path
 * @param {{json?: unknown, body?: BodyInit, headers?: Record<string, string>, signal?: AbortSignal, isRepeat?: boolean}} [options]
 * @returns {Promise<Response>}
 */
export async function send(method, path, options = {}) {
  const headers = { ...(await credentials()), ...options.headers };
  if (options.json !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: options.json === undefined ? options.body : JSON.stringify(options.json),
      signal: options.signal,
      cache: "no-store",
    });
  } catch (error) {
    if (/** @type {any} */ (error).name === "AbortError") throw error;
    throw new ApiError(0, { detail: "The server cannot be reached. Check the network, then try again.", code: "network" });
  }
  if (!response.ok) {
    const body = await response.json().catch(() => null);
    if (response.status === 401 && session.me && signInAgain && !options.isRepeat && (await signInAgain())) {
      return send(method, path, { ...options, isRepeat: true });
    }
    throw new ApiError(response.status, body, response.headers);
  }
  return response;
}

/** @param {string} path @param {AbortSignal} [signal] */
export async function get(path, signal) {
  return (await send("GET", path, { signal })).json();
}

/** @param {string} path @param {unknown} json @param {any} [options] */
export async function post(path, json, options = {}) {
  const response = await send("POST", path, { json, ...options });
  return response.status === 204 ? null : response.json();
}

/**
 * Uploads a file; fetch would not tell how far it is.
 * @param {File} file
 * @param {(share: number) => void} onProgress
 * @param {AbortSignal} signal
 * @returns {Promise<any>} the stored medium
 */
export async function upload(file, onProgress, signal) {
  const headers = { ...(await credentials()), "Content-Type": file.type || "application/octet-stream" };
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/media");
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress(event.total ? event.loaded / event.total : 0);
    request.onload = () => (request.status < 300 ? resolve(request.response) : reject(new ApiError(request.status, request.response)));
    request.onerror = () => reject(new ApiError(0, { detail: "The upload broke off. Check the network, then try again.", code: "network" }));
    request.onabort = () => reject(new DOMException("Removed", "AbortError"));
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(file);
  });
}

/** @param {string} path */
export async function remove(path) {
  await send("DELETE", path);
}

/**
 * Sends a chat and yields its events.
 * @param {unknown} json
 * @param {AbortSignal} signal
 */
export async function* chat(json, signal) {
  const response = await send("POST", "/chat", { json, signal, headers: { Accept: "text/event-stream" } });
  let hasEnded = false;
  for await (const event of events(response.body)) {
    const data = JSON.parse(event.data);
    hasEnded = data.type === "chat.completed" || data.type === "chat.error";
    yield data;
  }
  if (!hasEnded) {
    throw new ApiError(0, { detail: "The answer broke off before its end. Ask again.", code: "cut_off" });
  }
}
