// The panels beside the timeline: decision, picture, sound level, texts, health.

import { by, colour, h, isStill, keep, labelColour, LABEL_COLOURS, pen, say, show } from "./dom.js";
import { clock, ms, quantile, signed, span } from "./format.js";

const FLOOR_DB = -60;

const swatch = (labels, label) => `swatch label-${Math.max(0, labels.indexOf(label)) % LABEL_COLOURS}`;

// -- the decision

/** when: how old it is, if that must be said; none: what is said where there is none. */
export function decision(found, labels, when, none) {
  say(by("decided-when"), found ? `${clock(found.start_ns)}${found.revision ? ", revised" : ""}${when}` : none);
  const scores = labels.map(label => ({ label, score: found?.scores[label] ?? 0, is: found?.label === label }));
  keep(
    by("scores"),
    scores,
    each => each.label,
    each => bar(each.label, swatch(labels, each.label)),
    (row, each) => {
      fill(row, 0, each.score, each.score.toFixed(2));
      row.classList.toggle("chosen", each.is);
    },
  );
  const also = Object.entries(found?.also ?? {});
  show(by("also"), also.length);
  keep(
    by("also"),
    also,
    ([question]) => question,
    ([question]) => h("div", {}, h("dt", {}, question), h("dd")),
    (made, [, answer]) => say(made.lastElementChild, answer),
  );
  const why = Object.entries(found?.attribution ?? {}),
    most = Math.max(0.5, ...why.map(([, value]) => Math.abs(value)));
  keep(
    by("attribution"),
    why,
    ([name]) => name,
    ([name]) => bar(name, "", true),
    (row, [, value]) => {
      fill(row, value < 0 ? 0.5 + value / most / 2 : 0.5, Math.abs(value) / most / 2, signed(value, 2));
      row.classList.toggle("against", value < 0);
    },
  );
  show(by("attribution-none"), found && !why.length);
}

/** The delay of the last decision, and what 99 of 100 in the last minute stay below, against the deadline. */
export function delay(found, stages, deadline) {
  const now = found?.latency_ns?.total,
    rows = [
      { name: "this one", value: now },
      { name: "99 of 100", value: quantile(stages.get("total") ?? [], 0.99) },
    ];
  show(by("delay-part"), now !== undefined && deadline > 0);
  if (now === undefined || !deadline) return;
  say(by("delay-unit"), `ms, of ${ms(deadline)} allowed`);
  keep(
    by("delay"),
    rows,
    row => row.name,
    row => bar(row.name, ""),
    (made, row) => {
      fill(made, 0, Math.max(0, row.value / deadline), row.value < 0 ? "before" : ms(row.value));
      made.classList.toggle("over", row.value > deadline);
    },
  );
}

function bar(name, mark, middle = false) {
  const track = h("span", { className: middle ? "track middle" : "track" }, h("span", { className: `fill ${mark}` }));
  return h(
    "div",
    { className: "bar-row", attributes: { role: "listitem" } },
    h("span", { className: "name" }, name),
    track,
    h("span", { className: "figure" }),
  );
}

function fill(row, from, share, text) {
  const filled = row.querySelector(".fill").style;
  filled.left = `${(100 * from).toFixed(1)}%`;
  filled.width = `${(100 * Math.min(1, share)).toFixed(1)}%`;
  say(row.lastElementChild, text);
}

/** Over the picture. */
export function verdict(found, labels) {
  show(by("verdict"), found);
  if (!found) return;
  say(by("verdict-label"), found.label);
  say(by("verdict-score"), (found.scores[found.label] ?? 0).toFixed(2));
  say(by("verdict-also"), Object.values(found.also ?? {}).join(" · "));
  by("verdict-swatch").className = swatch(labels, found.label);
  keep(
    by("verdict-presence"),
    Object.entries(found.presence),
    ([name]) => name,
    ([name]) => h("li", {}, `${name} `, h("b")),
    (item, [name, how]) => {
      item.className = how;
      const age = found.age_ns?.[name];
      say(item.lastElementChild, how === "present" || age == null ? how : `${how} ${span(age)}`);
    },
  );
}

// -- the picture

export function picture(seen, { stale = "", reason = "No picture" } = {}) {
  const canvas = by("picture-canvas");
  show(by("picture-nothing"), !seen);
  say(by("picture-nothing"), reason);
  by("picture").classList.toggle("old", Boolean(stale));
  show(by("picture-stale"), stale);
  say(by("picture-stale"), stale);
  if (!seen) {
    if (canvas.dataset.at !== "") canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    canvas.dataset.at = "";
    if (canvas.getAttribute("aria-label") !== reason) canvas.setAttribute("aria-label", reason);
    return;
  }
  if (canvas.dataset.at === String(seen.at_ns)) return;
  canvas.dataset.at = seen.at_ns;
  if (canvas.width !== seen.bitmap.width || canvas.height !== seen.bitmap.height)
    Object.assign(canvas, { width: seen.bitmap.width, height: seen.bitmap.height });
  canvas.getContext("2d").drawImage(seen.bitmap, 0, 0);
  const name = `Picture of ${seen.name}`;
  if (canvas.getAttribute("aria-label") !== name) canvas.setAttribute("aria-label", name);
}

// -- sound

let held = { peak: FLOOR_DB, at: 0 };

export function level(found, name) {
  const canvas = by("level-canvas"),
    { context, width, height } = pen(canvas);
  const place = db => Math.max(0, Math.min(1, 1 - db / FLOOR_DB)) * width;
  context.fillStyle = colour("well");
  context.fillRect(0, 0, width, height);
  const now = performance.now();
  if (found) {
    if (found[2] >= held.peak || now - held.at > 1500) held = { peak: found[2], at: now };
    context.fillStyle = colour("packet-soft");
    context.fillRect(0, 0, place(found[2]), height);
    context.fillStyle = colour(found[2] > -1 ? "bad" : "packet");
    context.fillRect(0, 0, place(found[1]), height);
    context.fillStyle = colour("ink");
    context.fillRect(place(held.peak) - 1, 0, 2, height);
  }
  context.fillStyle = colour("line");
  for (let db = FLOOR_DB + 12; db < 0; db += 12) context.fillRect(Math.round(place(db)), height - 4, 1, 4);
  say(by("level-name"), name || "Sound");
  const text = found ? `${found[1] <= -119 ? "silence" : `${found[1].toFixed(0)} dB`}` : "–";
  say(by("level-text"), text);
  canvas.setAttribute("aria-label", found ? `Sound level, decibels of full scale` : "No sound level");
}

// -- texts

export function texts(known, until) {
  const shown = known
    .filter(each => each.start_ns <= until)
    .slice(-60)
    .reverse();
  keep(
    by("texts"),
    shown,
    each => `${each.stream}/${each.start_ns}/${each.text}`,
    each => h("li", {}, h("span", { className: "time" }, clock(each.start_ns)), " ", each.text),
  );
  by("texts").classList.toggle("none", !shown.length);
}

// -- health

export function health(reasons) {
  const shown = reasons.length ? reasons : [{ text: "All is well.", well: true }];
  keep(
    by("health"),
    shown,
    each => each.text,
    each => h("li", { className: each.well ? "well" : "unwell" }, each.text),
  );
}

export function events(lines) {
  keep(
    by("events"),
    [...lines].reverse(),
    each => each.id,
    each => h("li", {}, h("span", { className: "time" }, clock(each.at)), " ", each.line),
  );
  by("events").classList.toggle("none", !lines.length);
}

/** The strip over the scrubber: every decision of the recording. */
export function strip(canvas, decisions, labels, length, at) {
  const { context, width, height } = pen(canvas);
  context.fillStyle = colour("well");
  context.fillRect(0, 0, width, height);
  for (const each of decisions) {
    context.fillStyle = labelColour(labels, each.label);
    const left = (each.start_ns / length) * width;
    context.fillRect(left, 0, Math.max(1, (each.end_ns / length) * width - left + 0.8), height);
  }
  context.fillStyle = colour("ink");
  context.fillRect((at / length) * width - 1, 0, 2, height);
}

export const frameMs = () => (isStill.matches ? 1000 : 80);
