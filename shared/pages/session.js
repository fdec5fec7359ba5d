// The key of this tab, and who it belongs to.

const STORE = "key";

/** @type {{key: string|null, me: any, config: any}} */
export const session = { key: sessionStorage.getItem(STORE), me: null, config: {} };

const LOOPBACK = new Set(["localhost", "127.0.0.1", "[::1]"]);

/**
 * Takes a key out of the address before anything is asked, and leaves no trace of it there. On one's own
 * machine only: elsewhere a link could sign people in with a stranger's key.
 */
export function takeKeyFromAddress() {
  const found = /^#key=([\w.~-]+)$/.exec(location.hash);
  if (!found) return;
  if (LOOPBACK.has(location.hostname)) keep(found[1]);
  history.replaceState(null, "", `${location.pathname}#/chat`);
}

/** @param {string} key */
export function keep(key) {
  session.key = key;
  sessionStorage.setItem(STORE, key);
}

export function signOut() {
  session.key = session.me = null;
  sessionStorage.removeItem(STORE);
}

/** @param {string} scope */
export function may(scope) {
  return Boolean(session.me?.scopes?.includes(scope));
}
