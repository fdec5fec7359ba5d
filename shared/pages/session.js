// The key of this tab, and who it belongs to.

const STORE = "key";

/** @type {{key: string|null, me: any, config: any}} */
export const session = { key: sessionStorage.getItem(STORE), me: null, config: {} };

/** Takes a key out of the address before anything is asked, and leaves no trace of it there. */
export function takeKeyFromAddress() {
  const found = /^#key=([^&]+)/.exec(location.hash);
  if (!found) return;
  keep(decodeURIComponent(found[1]));
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
