// The gallery of the caller's media, and the videos that are still being made.

import { button, h } from "./dom.js";
import { get, upload } from "./api.js";
import { empty, fault, loading, toast } from "./notice.js";
import { jobCard, mediaCard, mediaDetail } from "./media-card.js";
import { go } from "./router.js";

const PAGE = 24;
const MAX_UPLOAD_BYTES = 95 * 1024 * 1024;
const KINDS = /** @type {[string, string][]} */ ([["", "All"], ["image", "Pictures"], ["audio", "Audio"], ["video", "Video"]]);
const FIRST_POLL = 5000;
const LONGEST_POLL = 20000;

/** @type {import("./router.js").View} */
export function show(place, route) {
  const id = route.rest[0];
  if (id) {
    return loading(place, async () => h("div", { class: "page" },
      h("div", { class: "head" }, h("h1", {}, "Medium"), h("a", { class: "btn", href: "#/media" }, "All media")),
      mediaDetail(await get(`/media/${encodeURIComponent(id)}/info`, route.signal), () => go("#/media"))));
  }
  const kind = route.query.get("kind") ?? "";
  const query = `limit=${PAGE}${kind ? `&kind=${encodeURIComponent(kind)}` : ""}`;
  return loading(place, async () => {
    const first = await get(`/media?${query}`, route.signal);
    const grid = h("div", { class: "grid" });
    const more = h("div", { class: "row" });
    const search = h("input", { class: "field", type: "search", placeholder: "Search loaded prompts", "aria-label": "Search loaded prompts" });
    const filter = () => {
      const wanted = search.value.trim().toLowerCase();
      for (const card of grid.children) card.hidden = !card.textContent?.toLowerCase().includes(wanted);
    };
    search.addEventListener("input", filter);
    let count = 0;
    const add = (/** @type {any} */ page) => {
      for (const media of page.media) grid.append(mediaCard(media));
      count += page.media.length;
      filter();
      more.replaceChildren(h("span", { class: "muted small" }, count ? `${count} shown, newest first` : ""));
      const cursor = page.next_cursor ?? page.cursor;
      if (cursor) {
        more.prepend(button("Show more", async () => add(await get(`/media?${query}&cursor=${encodeURIComponent(cursor)}`, route.signal))));
      }
    };
    add(first);
    if (!kind || kind === "video") watchJobs(grid, route.signal);
    return h("div", { class: "page" },
      h("div", { class: "head" }, h("h1", {}, "Media"),
        h("div", { class: "seg", role: "group", "aria-label": "Kind" }, KINDS.map(([value, label]) =>
          h("a", { href: `#/media${value ? `?kind=${value}` : ""}`, "aria-current": value === kind && "true" }, label))),
        search, uploader()),
      count ? grid : [grid, empty(kind ? "None of that kind yet." : "No media yet.", h("a", { class: "btn", href: "#/tools/generate_image" }, "Draw a picture"))],
      more);
  });
}

function uploader() {
  const input = h("input", { type: "file", accept: "image/*,audio/*,video/*", hidden: true });
  const progress = h("progress", { max: 1, value: 0, hidden: true, "aria-label": "Upload" });
  const problem = h("div", {});
  input.addEventListener("change", async () => {
    const file = input.files[0];
    if (!file) return;
    problem.replaceChildren();
    if (file.size > MAX_UPLOAD_BYTES) {
      problem.replaceChildren(fault(new Error("A medium may have at most 95 MiB.")));
      return;
    }
    progress.hidden = false;
    try {
      await upload(file, (share) => (progress.value = share), new AbortController().signal);
      toast("Uploaded");
      dispatchEvent(new HashChangeEvent("hashchange"));
    } catch (error) {
      problem.replaceChildren(fault(error));
    } finally {
      progress.hidden = true;
      input.value = "";
    }
  });
  return h("div", {}, input, button("Upload", () => input.click(), { icon: "plus" }), progress, problem);
}

/** @param {HTMLElement} grid @param {AbortSignal} signal */
async function watchJobs(grid, signal) {
  /** @type {Map<string, HTMLElement>} */
  const cards = new Map();
  let pause = FIRST_POLL;
  while (!signal.aborted) {
    let jobs = [];
    try {
      jobs = (await get("/videos?limit=20", signal)).videos ?? [];
    } catch {
      return;
    }
    for (const job of jobs) {
      const isOpen = job.status === "queued" || job.status === "in_progress";
      const old = cards.get(job.id);
      if (!isOpen && !old) continue;
      const card = job.media ? mediaCard({ ...job.media, prompt: job.prompt }) : jobCard(job);
      if (old) old.replaceWith(card);
      else grid.prepend(card);
      if (isOpen) cards.set(job.id, card);
      else cards.delete(job.id);
    }
    if (!cards.size) return;
    await new Promise((resolve) => setTimeout(resolve, pause));
    while (document.hidden && !signal.aborted) await new Promise((resolve) => setTimeout(resolve, 1000));
    pause = Math.min(LONGEST_POLL, pause * 1.3);
  }
}
