// Sign-in with Microsoft Entra ID: authorization code with PKCE, in this window, tokens in this tab only.
// Sources: https://www.rfc-editor.org/rfc/rfc7636, https://openid.net/specs/openid-connect-core-1_0.html

import { session } from "./session.js";

const FLOW = "entra-flow";
const TOKENS = "entra-tokens";
const EARLY_SECONDS = 120;

/** @typedef {{access: string, refresh: string|null, ends: number}} Tokens */

/** @type {Promise<Tokens|null> | null} */
let renewing = null;

/** @returns {Tokens | null} */
function stored() {
  return JSON.parse(sessionStorage.getItem(TOKENS) ?? "null");
}

/** Goes to Entra; it comes back to this page with a code in the fragment. */
export async function signInWithEntra() {
  const { client_id } = session.config.entra;
  const { authorization_endpoint } = await endpoints();
  const flow = { verifier: random(), state: random(), nonce: random(), back: location.hash };
  sessionStorage.setItem(FLOW, JSON.stringify(flow));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(flow.verifier));
  const query = new URLSearchParams({
    client_id, response_type: "code", response_mode: "fragment", redirect_uri: redirectUri(), scope: scope(),
    state: flow.state, nonce: flow.nonce, code_challenge: base64url(new Uint8Array(digest)), code_challenge_method: "S256",
  });
  location.assign(`${authorization_endpoint}?${query}`);
}

/** Whether Entra has sent the browser back here. */
export function returnsFromEntra() {
  return /^#(?=.*\bstate=)(.*&)?(code|error)=/.test(location.hash);
}

/**
 * Redeems the code of the address, which is removed from there first.
 * @throws {Error} The answer is not to this tab's request, or Entra refuses.
 */
export async function finishSignIn() {
  const given = new URLSearchParams(location.hash.slice(1));
  const flow = JSON.parse(sessionStorage.getItem(FLOW) ?? "null");
  sessionStorage.removeItem(FLOW);
  const back = flow?.back && !/[?#&]state=/.test(flow.back) ? flow.back : "#/chat";
  history.replaceState(null, "", `${location.pathname}${back}`);
  if (!flow || given.get("state") !== flow.state) {
    throw new Error("This answer does not belong to a sign-in of this tab. Sign in again.");
  }
  if (given.get("error")) {
    throw new Error(`Microsoft Entra ID refused: ${(given.get("error_description") ?? given.get("error") ?? "").slice(0, 300)}`);
  }
  const answer = await token({
    grant_type: "authorization_code", code: given.get("code") ?? "", redirect_uri: redirectUri(), code_verifier: flow.verifier,
  });
  if (claims(answer.id_token).nonce !== flow.nonce) {
    throw new Error("The token does not belong to this sign-in: its nonce differs. Sign in again.");
  }
  store(answer);
}

/** Returns an access token that still lasts, renewed if need be; null where nobody signed in with Entra. */
export async function accessToken() {
  const tokens = stored();
  if (!tokens || tokens.ends - EARLY_SECONDS > Date.now() / 1000) return tokens?.access ?? null;
  renewing ??= renew(tokens).finally(() => (renewing = null));
  return (await renewing)?.access ?? null;
}

export function forgetTokens() {
  sessionStorage.removeItem(TOKENS);
  sessionStorage.removeItem(FLOW);
}

/** @param {Tokens} tokens @returns {Promise<Tokens|null>} */
async function renew(tokens) {
  if (!tokens.refresh) return tokens;
  try {
    return store(await token({ grant_type: "refresh_token", refresh_token: tokens.refresh, scope: scope() }), tokens.refresh);
  } catch {
    // The app answers 401 once it has ended, which asks for a new sign-in.
    return tokens;
  }
}

/** @param {any} answer @param {string|null} [refresh] */
function store(answer, refresh = null) {
  const ends = Date.now() / 1000 + Number(answer.expires_in ?? 3600);
  const tokens = { access: answer.access_token, refresh: answer.refresh_token ?? refresh, ends };
  sessionStorage.setItem(TOKENS, JSON.stringify(tokens));
  return tokens;
}

/** @param {Record<string, string>} fields */
async function token(fields) {
  const { token_endpoint } = await endpoints();
  const response = await fetch(token_endpoint, {
    method: "POST", body: new URLSearchParams({ ...fields, client_id: session.config.entra.client_id }), credentials: "omit",
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok || !answer.access_token) {
    throw new Error(`Microsoft Entra ID gave no token: ${String(answer.error_description ?? answer.error ?? response.status).slice(0, 300)}`);
  }
  return answer;
}

async function endpoints() {
  const base = session.config.entra.authority.replace(/\/+$/, "").replace(/(\/v2\.0)?$/, "/v2.0");
  const response = await fetch(`${base}/.well-known/openid-configuration`, { credentials: "omit" });
  if (!response.ok) throw new Error(`Microsoft Entra ID does not describe itself: status ${response.status}. Try again.`);
  const found = await response.json();
  for (const name of ["authorization_endpoint", "token_endpoint"]) {
    if (new URL(found[name]).origin !== new URL(base).origin) throw new Error(`The authority names a ${name} of another host.`);
  }
  return found;
}

function scope() {
  const words = new Set([...session.config.entra.scope.split(" "), "openid", "profile", "offline_access"]);
  return [...words].filter(Boolean).join(" ");
}

function redirectUri() {
  return `${location.origin}/`;
}

/** @param {string|undefined} jwt of Entra's token endpoint, which TLS vouches for: the signature is not checked again */
function claims(jwt) {
  const [, body = ""] = (jwt ?? "").split(".");
  if (!body) return {};
  const bytes = Uint8Array.from(atob(body.replaceAll("-", "+").replaceAll("_", "/")), (each) => each.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
}

function random() {
  return base64url(crypto.getRandomValues(new Uint8Array(32)));
}

/** @param {Uint8Array} bytes */
function base64url(bytes) {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}
