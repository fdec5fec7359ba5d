// Pictures, clips and videos.

import { button, h, icon } from "./dom.js";
import { ago, money, size } from "./format.js";
import { get, remove } from "./api.js";
import { confirm, toast } from "./notice.js";

/** @typedef {{id: string, url: string, content_type: string, size_bytes: number, created_at: string, expires_at: string|null, thumbnail_url?: string, prompt?: string|null, name?: string|null, model?: string|null, cost_usd?: number|null}} Media */

/** Finds media in a tool's result. @param {any} result @returns {Media[]} */
export function mediaIn(result) {
  if (!result || typeof result !== "object") return [];
  if (Array.isArray(result.media)) return result.media.filter((/** @type {any} */ each) => each?.url);
  return result.media?.url ? [result.media] : [];
}

/** The medium itself, playable or visible. @param {Media} media */
export function shot(media) {
  const label = media.prompt || media.name || media.id;
  const kind = media.content_type.split("/")[0];
  if (kind === "image") {
    const picture = h("img", { src: media.url, alt: label, loading: "lazy" });
    picture.addEventListener("error", () => renew(media, picture), { once: true });
    return h("a", { href: media.url, target: "_blank", rel: "noopener", class: "shot" }, picture);
  }
  const player = kind === "audio"
    ? h("audio", { controls: true, preload: "none", src: media.url, "aria-label": label })
    : h("video", { controls: true, preload: "none", src: media.url, poster: media.thumbnail_url, "aria-label": label });
  player.addEventListener("error", () => renew(media, player), { once: true });
  return h("div", { class: `shot ${kind}` }, player);
}

/** Links expire: a new one is asked for once. @param {Media} media @param {any} node */
async function renew(media, node) {
  const fresh = await get(`/media/${media.id}/info`).catch(() => null);
  if (fresh) node.src = fresh.url;
}

/** @param {Media} media @param {{onDelete?: () => void}} [options] */
export function mediaCard(media, options = {}) {
  const label = media.prompt || media.name || media.content_type;
  const card = h("article", { class: "card", "aria-label": label },
    shot(media),
    h("div", { class: "info" },
      h("p", { title: label }, label),
      h("div", { class: "meta" }, h("span", {}, media.model ?? media.content_type),
        media.cost_usd != null && h("span", { class: "cost" }, money(media.cost_usd))),
      h("div", { class: "meta" }, h("span", {}, ago(media.created_at)), h("span", {}, size(media.size_bytes)))),
    h("div", { class: "acts" },
      h("a", { class: "btn ghost", href: media.url, target: "_blank", rel: "noopener", download: media.id }, "Open"),
      button("Copy id", async () => {
        await navigator.clipboard.writeText(media.id);
        toast("Copied");
      }, { kind: "ghost" }),
      button("Delete", async () => {
        if (!(await confirm("Delete this medium?", "Chats that show it lose it.", "Delete"))) return;
        await remove(`/media/${media.id}`);
        card.remove();
        toast("Deleted");
        options.onDelete?.();
      }, { kind: "ghost push", name: `Delete ${label}` })));
  return card;
}

/** A video that is still being made. @param {any} job */
export function jobCard(job) {
  const failed = job.status === "failed";
  return h("article", { class: "card", "aria-label": "Video job" },
    h("div", { class: "shot" }, failed
      ? h("div", { class: "fault" }, h("p", {}, job.error?.message ?? job.error?.detail ?? "The video failed."))
      : [icon("film"), h("span", { class: "kind" }, `${job.status} · ${job.progress ?? 0} %`),
        h("progress", { max: 100, value: job.progress ?? 0, "aria-label": "Video job" })]),
    h("div", { class: "info" }, h("p", {}, job.prompt ?? "Video"),
      h("div", { class: "meta" }, h("span", {}, job.model ?? "video job"), h("span", {}, ago(job.created_at)))));
}
