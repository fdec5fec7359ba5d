// Pictures, clips and videos.

import { button, h, icon } from "./dom.js";
import { ago, money, size } from "./format.js";
import { get, remove } from "./api.js";
import { copy } from "./code.js";
import { confirm, toast } from "./notice.js";

/** @typedef {{id: string, url: string, content_type: string, size_bytes: number, created_at: string, expires_at: string|null, thumbnail_url?: string, prompt?: string|null, name?: string|null, tool?: string|null, model?: string|null, cost_usd?: number|null, width?: number|null, height?: number|null}} Media */

/** Finds media in a tool's result. @param {any} result @returns {Media[]} */
export function mediaIn(result) {
  if (!result || typeof result !== "object") return [];
  if (Array.isArray(result.media)) return result.media.filter((/** @type {any} */ each) => each?.url && each.content_type);
  return result.media?.url && result.media.content_type ? [result.media] : [];
}

/** Links as the app makes them; what else is called a link in a result is none. @param {string} url */
function isWeb(url) {
  return /^https?:\/\//.test(url) || url.startsWith("/");
}

/** The medium itself, playable or visible. @param {Media} media */
export function shot(media) {
  const label = media.prompt || media.name || media.id;
  const kind = media.content_type.split("/")[0];
  const source = isWeb(media.url) ? media.url : null;
  if (kind === "image") {
    const picture = h("img", { src: source, alt: label, loading: "lazy", width: media.width, height: media.height });
    picture.addEventListener("error", () => renew(media, picture), { once: true });
    return h("a", { href: source, target: "_blank", rel: "noopener", class: "shot" }, picture);
  }
  if (kind !== "audio" && kind !== "video") return h("div", { class: "shot" }, h("span", { class: "kind" }, media.content_type));
  const player = kind === "audio"
    ? h("audio", { controls: true, preload: "none", src: source, "aria-label": label })
    : h("video", { controls: true, preload: "none", src: source, poster: media.thumbnail_url, "aria-label": label });
  player.addEventListener("error", () => renew(media, player), { once: true });
  return h("div", { class: `shot ${kind}` }, player);
}

/** Links expire: a new one is asked for once. @param {Media} media @param {any} node */
async function renew(media, node) {
  const fresh = await get(`/media/${encodeURIComponent(media.id)}/info`).catch(() => null);
  if (fresh) node.src = fresh.url;
  else if (node.tagName === "IMG") node.closest(".shot").replaceChildren(h("span", { class: "kind" }, "deleted, or not to be had"));
}

/** @param {Media} media @param {{onDelete?: () => void}} [options] */
export function mediaCard(media, options = {}) {
  const label = media.prompt || media.name || media.content_type;
  const kind = media.content_type.split("/")[0];
  const id = encodeURIComponent(media.id);
  const card = h("article", { class: "card", "aria-label": label },
    shot(media),
    h("div", { class: "info" },
      h("p", { title: label }, h("a", { href: `#/media/${id}` }, label)),
      h("div", { class: "meta" }, h("span", {}, media.model ?? media.content_type),
        media.cost_usd != null && h("span", { class: "cost" }, money(media.cost_usd))),
      h("div", { class: "meta" }, h("span", {}, ago(media.created_at)), h("span", {}, size(media.size_bytes)))),
    h("div", { class: "acts" },
      h("a", { class: "btn ghost", href: isWeb(media.url) && media.url, target: "_blank", rel: "noopener", "aria-label": `Open ${label}` }, "Open"),
      kind === "image" && h("a", { class: "btn ghost", href: `#/tools/edit_image?images=${id}`, "aria-label": `Edit ${label}` }, "Edit"),
      kind === "audio" && h("a", { class: "btn ghost", href: `#/tools/transcribe_audio?media_id=${id}`, "aria-label": `Transcribe ${label}` }, "Transcribe"),
      button("Delete", async () => {
        if (!(await confirm("Delete this medium?", `“${label}” is removed. Chats that show it lose it.`, "Delete"))) return;
        await remove(`/media/${id}`);
        card.remove();
        toast("Deleted");
        options.onDelete?.();
      }, { kind: "ghost push", name: `Delete ${label}` })));
  return card;
}

/** All that is known of a medium. @param {Media} media @param {() => void} onDelete */
export function mediaDetail(media, onDelete) {
  const facts = /** @type {[string, any][]} */ ([
    ["Prompt", media.prompt], ["Model", media.model && h("code", {}, media.model)], ["Tool", media.tool && h("code", {}, media.tool)],
    ["Cost", media.cost_usd != null && h("span", { class: "cost mono" }, money(media.cost_usd))],
    ["Type", media.content_type], ["Size", size(media.size_bytes)], ["Pixels", media.width && `${media.width} × ${media.height}`],
    ["Made", new Date(media.created_at).toLocaleString()],
    ["Id", h("span", { class: "row" }, h("code", {}, media.id), button("Copy id", async () => {
      await copy(media.id);
      toast("Copied");
    }))],
  ]);
  return h("div", { class: "medium" }, mediaCard(media, { onDelete }),
    h("dl", { class: "facts panel" }, facts.filter(([, value]) => value).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
}

/** A video that is still being made. @param {any} job */
export function jobCard(job) {
  const failed = job.status === "failed";
  return h("article", { class: "card", "aria-label": "Video job" },
    h("div", { class: "shot" }, failed
      ? h("div", { class: "fault" }, h("p", {}, job.error?.message ?? job.error?.detail ?? "The video failed."))
      : [icon("film"), h("span", { class: "kind" }, `${String(job.status).replace("_", " ")} · ${job.progress ?? 0} %`),
        h("progress", { max: 100, value: job.progress ?? 0, "aria-label": "Video job" })]),
    h("div", { class: "info" }, h("p", {}, job.prompt ?? "Video"),
      h("div", { class: "meta" }, h("span", {}, job.model ?? "video job"), h("span", {}, ago(job.created_at)))));
}
