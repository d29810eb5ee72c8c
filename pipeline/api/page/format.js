// Numbers as people read them. Times are nanoseconds unless said.

export const S = 1e9,
  MS = 1e6;

/** 0:12.3, 12:03.4, 1:02:03.4 */
export function clock(ns) {
  const tenths = Math.max(0, Math.floor(ns / 1e8)),
    seconds = Math.floor(tenths / 10);
  const hours = Math.floor(seconds / 3600),
    minutes = Math.floor(seconds / 60) % 60;
  const two = number => String(number).padStart(2, "0");
  return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(seconds % 60)}.${tenths % 10}`;
}

/** 0.31, 4.2, 141: milliseconds with three figures or fewer. */
export function ms(ns) {
  const value = ns / MS,
    size = Math.abs(value);
  return value.toFixed(size < 1 ? 2 : size < 100 ? 1 : 0);
}

/** 40 ms, 1.2 s, 3 min */
export function span(ns) {
  if (ns < S) return `${Math.round(ns / MS)} ms`;
  if (ns < 100 * S) return `${(ns / S).toFixed(ns < 10 * S ? 1 : 0)} s`;
  if (ns < 7200 * S) return `${Math.round(ns / 60 / S)} min`;
  return `${(ns / 3600 / S).toFixed(1)} h`;
}

export function bytes(count) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (count < 1000 || unit === "GB") return `${count < 10 && unit !== "B" ? count.toFixed(1) : Math.round(count)} ${unit}`;
    count /= 1000;
  }
  return "";
}

export const signed = (value, digits) => `${value > 0 ? "+" : value < 0 ? "−" : "±"}${Math.abs(value).toFixed(digits)}`;

export function counts(byName) {
  return Object.entries(byName || {})
    .filter(([, count]) => count)
    .map(([name, count]) => `${name.replaceAll("_", " ")} ${count}`)
    .join(", ");
}

export const sum = byName => Object.values(byName || {}).reduce((all, each) => all + each, 0);

/** The value that `share` of them stay at or below; they need not be sorted. */
export function quantile(values, share) {
  const sorted = Float64Array.from(values).sort();
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))] : NaN;
}

/** The day and time of an ISO 8601 stamp, in the reader's own zone. */
export function when(utc) {
  const date = new Date(utc);
  return Number.isNaN(date.getTime()) ? utc : date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}
