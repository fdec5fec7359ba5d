// Who this tab is: a key or Entra's tokens, whom it speaks for, and what the app said of itself.

const KEY = "key";
const USER = "user";

/** @type {{key: string|null, user: string|null, me: any, config: any}} */
export const session = { key: sessionStorage.getItem(KEY), user: sessionStorage.getItem(USER), me: null, config: {} };

export const LOOPBACK = new Set(["localhost", "127.0.0.1", "[::1]"]);

/**
 * Takes a key out of the address before anything is asked, and leaves no trace of it there. On one's own
 * machine only: elsewhere a link could sign people in with a stranger's key.
 * @returns {boolean} whether there was one
 */
export function takeKeyFromAddress() {
  const found = /^#key=([\w.~-]+)$/.exec(location.hash);
  if (!found) return false;
  if (LOOPBACK.has(location.hostname)) keep(found[1]);
  history.replaceState(null, "", `${location.pathname}#/chat`);
  return true;
}

/** @param {string} key */
export function keep(key) {
  session.key = key;
  sessionStorage.setItem(KEY, key);
}

/** Names the user that requests are made for; null ends it. @param {string|null} user */
export function speakFor(user) {
  session.user = user;
  if (user) sessionStorage.setItem(USER, user);
  else sessionStorage.removeItem(USER);
}

export function forget() {
  session.key = session.me = null;
  sessionStorage.removeItem(KEY);
  speakFor(null);
}

/** @param {string} scope */
export function may(scope) {
  return Boolean(session.me?.scopes?.includes(scope));
}
