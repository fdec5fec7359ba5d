// Signing in with Microsoft or with a key.

import { button, h } from "./dom.js";
import { get } from "./api.js";
import { signInWithEntra } from "./entra.js";
import { fault, modal } from "./notice.js";
import { keep, session } from "./session.js";

/** @param {() => void} onSignedIn */
function signInForm(onSignedIn) {
  const field = h("input", { class: "field mono", id: "key", type: "password", autocomplete: "current-password", required: true, "aria-describedby": "why" });
  const problem = h("div", { id: "why" });
  const submit = button("Sign in", () => {}, { kind: session.config.entra ? "" : "primary", type: "submit" });
  const form = h("form", {
    onsubmit: async (/** @type {Event} */ event) => {
      event.preventDefault();
      problem.replaceChildren();
      field.removeAttribute("aria-invalid");
      submit.disabled = true;
      const before = { key: session.key, me: session.me };
      session.key = field.value.trim();
      session.me = null;
      try {
        session.me = await get("/me");
        keep(field.value.trim());
        onSignedIn();
      } catch (error) {
        Object.assign(session, before);
        field.setAttribute("aria-invalid", "true");
        const refusal = /** @type {any} */ (error);
        if (refusal.status === 401) refusal.message = "This key is not known here, or has expired.";
        problem.replaceChildren(fault(refusal));
        field.focus();
      } finally {
        submit.disabled = false;
      }
    },
  },
  h("input", { hidden: true, autocomplete: "username", value: "gateway" }),
  h("label", { for: "key" }, "API key"), field, problem, submit);
  const refused = h("div", {});
  const microsoft = session.config.entra && [
    button("Sign in with Microsoft", () => signInWithEntra().catch((error) => refused.replaceChildren(fault(error))), { kind: "primary" }),
    refused, h("p", { class: "or small muted" }, "or with a key")];
  return { nodes: [microsoft, form].flat().filter(Boolean), first: field };
}

/** @param {HTMLElement} place @param {() => void} onSignedIn @param {string} [reason] */
export function showSignIn(place, onSignedIn, reason) {
  place.replaceChildren(h("div", { class: "signin" },
    h("h1", {}, "Sign in to this gateway"),
    reason && h("div", { class: "fault", role: "alert" }, h("p", {}, reason)),
    h("p", { class: "muted" }, "Chat with tools, pictures, speech and video, and see what each call cost. The key stays in this tab."),
    signInForm(onSignedIn).nodes,
    h("p", { class: "small muted" }, "On your own machine ", h("code", {}, "make run"),
      " prints a key and a link that signs in by itself. Without a key you can read ",
      h("a", { href: "#/setup" }, "Set up"), " and the ", h("a", { href: "/docs" }, "description of the API"), ".")));
}

/** Asks for a key over the view; resolves to whether there is one. @returns {Promise<boolean>} */
export function signInAgain() {
  return new Promise((resolve) => {
    const form = signInForm(() => {
      resolve(true);
      close();
    });
    const close = modal("Sign in again", h("div", { class: "signin" },
      h("p", {}, "This key is no longer accepted. What you typed stays here."), form.nodes), form.first, () => resolve(false));
  });
}
