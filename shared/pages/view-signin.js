// Signing in with a key.

import { button, h } from "./dom.js";
import { get } from "./api.js";
import { fault } from "./notice.js";
import { keep, session, signOut } from "./session.js";

/** @param {HTMLElement} place @param {() => void} onSignedIn @param {string} [reason] */
export function showSignIn(place, onSignedIn, reason) {
  const field = h("input", { class: "field mono", id: "key", type: "password", autocomplete: "current-password", required: true });
  const problem = h("div", { id: "why" });
  const submit = button("Sign in", () => {}, { kind: "primary", type: "submit" });
  const form = h("form", {
    onsubmit: async (/** @type {Event} */ event) => {
      event.preventDefault();
      problem.replaceChildren();
      field.removeAttribute("aria-invalid");
      submit.disabled = true;
      keep(field.value.trim());
      try {
        session.me = await get("/me");
        onSignedIn();
      } catch (error) {
        signOut();
        field.setAttribute("aria-invalid", "true");
        problem.replaceChildren(fault(error));
        field.focus();
      } finally {
        submit.disabled = false;
      }
    },
  },
  h("input", { hidden: true, autocomplete: "username", value: "gateway" }),
  h("label", { for: "key" }, "API key"), field, problem, submit);
  field.setAttribute("aria-describedby", "why");
  place.replaceChildren(h("div", { class: "signin" },
    h("h1", {}, "Sign in to this gateway"),
    h("p", { class: "muted" }, reason ?? "Chat with tools, pictures, speech and video, and see what each call cost. The key stays in this tab."),
    form,
    h("p", { class: "small muted" }, "On your own machine ", h("code", {}, "make run"),
      " prints a key and a link that signs in by itself. Without a key you can read ",
      h("a", { href: "#/setup" }, "Set up"), " and the ", h("a", { href: "/docs" }, "description of the API"), ".")));
}
