// Money, times, sizes and counts as people read them.

/** @param {number|null|undefined} usd @param {boolean} [isEstimate] */
export function money(usd, isEstimate = false) {
  if (usd == null) return "no price";
  if (usd === 0) return "$0.00";
  if (usd > 0 && usd < 0.0001) return isEstimate ? "≈ $0.0001" : "< $0.0001";
  const digits = Math.abs(usd) < 1 ? 4 : 2;
  const text = usd.toLocaleString("en-US", {
    style: "currency",
    currency: "USD",
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
  return isEstimate ? `≈ ${text}` : text;
}

/** @param {number|null|undefined} count */
export function number(count) {
  return count == null ? "–" : count.toLocaleString("en-US");
}

/** @param {number|null|undefined} count @param {string} noun */
export function counted(count, noun) {
  return `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** @param {number|null|undefined} bytes */
export function size(bytes) {
  if (bytes == null) return "–";
  for (const [unit, factor] of /** @type {[string, number][]} */ ([["GB", 1e9], ["MB", 1e6], ["kB", 1e3]])) {
    if (bytes >= factor) return `${(bytes / factor).toFixed(1)} ${unit}`;
  }
  return `${bytes} B`;
}

/** @param {number|null|undefined} milliseconds */
export function duration(milliseconds) {
  if (milliseconds == null) return "";
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  return `${(milliseconds / 1000).toFixed(1)} s`;
}

/** @param {string|null|undefined} time */
export function ago(time) {
  if (!time) return "";
  const seconds = (Date.now() - new Date(time).getTime()) / 1000;
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return new Date(time).toLocaleDateString(undefined, { day: "numeric", month: "short", year: "numeric" });
}

/** The day as a heading of a list. @param {string} time */
export function day(time) {
  const days = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(time).setHours(0, 0, 0, 0)) / 86_400_000);
  if (days <= 0) return "Today";
  return days === 1 ? "Yesterday" : days < 7 ? "Last 7 days" : "Older";
}

/** @param {unknown} value @param {number} [limit] */
export function gist(value, limit = 120) {
  if (value && typeof value === "object") {
    const text = Object.values(value).find((each) => typeof each === "string");
    return text ? gist(text, limit) : "";
  }
  const text = value == null ? "" : String(value).replace(/\s+/g, " ");
  return text.length > limit ? `${text.slice(0, limit)}…` : text;
}
