// A dialog to choose one of the caller's media.

import { button, h } from "./dom.js";
import { get } from "./api.js";
import { empty, loading, modal } from "./notice.js";

const SHOWN = 24;

/** @param {string} kind image, audio, video, or "" for any @returns {Promise<string|null>} its id */
export function pickMedium(kind) {
  return new Promise((resolve) => {
    const place = h("div", { class: "picker" });
    const close = modal("Choose a medium", h("div", { class: "form" }, place,
      h("div", { class: "row end" }, button("Cancel", () => close()))), undefined, () => resolve(null));
    loading(place, async () => {
      const found = (await get(`/media?limit=${SHOWN}${kind ? `&kind=${kind}` : ""}`)).media;
      if (!found.length) return empty("No media of that kind yet. Upload some in Media, or draw a picture.");
      return found.map((/** @type {any} */ each) => h("button", {
        type: "button", class: "pickable",
        onclick: () => {
          resolve(each.id);
          close();
        },
      }, each.content_type.startsWith("image/") ? h("img", { src: each.url, alt: "", loading: "lazy" }) : h("code", {}, each.content_type),
      h("span", {}, each.prompt ?? each.name ?? each.id)));
    });
  });
}
