// The aligned timeline: a lane for each input, one for the decisions, and its key.

import { colour, enlarged, h, keep, labelColour, pen } from "./dom.js";
import { S } from "./format.js";
import { gaps, SHOWN_NS } from "./moments.js";

const LANE = 34,
  DECISIONS = 44,
  AXIS = 20,
  LEFT = 74,
  GAP = 8;
const PRESENCE = { partial: "warn", timeout: "bad", closed: "muted", empty: "faint" };
const LATE = "late";

export class Timeline {
  /** canvas, and where its key goes. looked(ns or null): the moment under the pointer. */
  constructor(canvas, key, looked) {
    Object.assign(this, { canvas, key, x: null });
    const at = event => {
      const box = canvas.getBoundingClientRect(),
        left = LEFT * enlarged(),
        x = event.clientX - box.left;
      looked(x < left ? null : -SHOWN_NS * (1 - (x - left) / Math.max(1, box.width - left)));
    };
    canvas.addEventListener("pointermove", at);
    canvas.addEventListener("pointerdown", at);
    canvas.addEventListener("pointerleave", event => event.pointerType === "mouse" && looked(null));
  }

  /** inputs: {name: kind}; to: the right edge, in session time; cursor: a moment, or null; stale: nothing new comes. */
  draw({ moments, inputs, labels, levelOf, to, cursor, stale }) {
    const names = Object.keys(inputs),
      height = names.length * (LANE + GAP) + DECISIONS + AXIS;
    const unit = enlarged(),
      wanted = `${height * unit}px`;
    if (this.canvas.style.height !== wanted) this.canvas.style.height = wanted;
    const { context, width } = pen(this.canvas, unit),
      from = to - SHOWN_NS;
    const view = { context, from, to, width, x: ns => LEFT + ((ns - from) / SHOWN_NS) * (width - LEFT) };
    context.font = `12px ${colour("font")}`;
    context.textBaseline = "middle";
    grid(view, height);
    const decisions = moments.decisionsIn(from, to);
    names.forEach((name, place) => {
      const top = place * (LANE + GAP);
      label(view, name, top + LANE / 2);
      context.save();
      context.beginPath();
      context.rect(LEFT, top, width - LEFT, LANE);
      context.clip();
      lane(view, top, { name, kind: inputs[name], moments, level: levelOf(name), decisions });
      context.restore();
    });
    const top = names.length * (LANE + GAP);
    label(view, "decision", top + DECISIONS / 2);
    context.save();
    context.beginPath();
    context.rect(LEFT, top, width - LEFT, DECISIONS);
    context.clip();
    verdicts(view, top, decisions, labels);
    context.restore();
    if (cursor !== null) {
      context.fillStyle = colour("ink");
      context.fillRect(view.x(cursor) - 0.5, 0, 1, height - AXIS);
    }
    if (stale) {
      context.fillStyle = colour("veil");
      context.fillRect(LEFT, 0, width - LEFT, height - AXIS);
    }
    this.#keys(labels);
  }

  #keys(labels) {
    const items = [
      ...labels.map((name, place) => ({ name, mark: `label-${place % 8}` })),
      { name: "late", mark: "late" },
      { name: "dropped", mark: "dropped" },
      { name: "gap", mark: "gap" },
      { name: "partial", mark: "partial" },
      { name: "timeout", mark: "timeout" },
    ];
    keep(
      this.key,
      items,
      item => item.mark + item.name,
      item => h("span", {}, h("i", { className: `mark ${item.mark}` }), item.name),
    );
  }
}

function label({ context }, name, y) {
  context.fillStyle = colour("muted");
  context.textAlign = "left";
  context.fillText(name.length > 11 ? `${name.slice(0, 10)}…` : name, 0, y);
}

function grid({ context, from, to, width, x }, height) {
  context.textAlign = "center";
  const step = width < 520 ? 10 * S : 5 * S;
  for (let ago = 0; ago <= SHOWN_NS; ago += step) {
    const at = x(to - ago);
    context.fillStyle = colour("line");
    context.fillRect(Math.min(width - 1, Math.round(at)), 0, 1, height - AXIS + 3);
    context.fillStyle = colour("muted");
    context.textAlign = ago === 0 ? "right" : "center";
    context.fillText(ago === 0 ? "0 s" : `−${ago / S}`, Math.max(LEFT, at), height - AXIS / 2 + 2);
  }
}

/** The ground of a lane, from the session's beginning on. */
function well({ context, x, width }, top, height) {
  const left = Math.max(LEFT, x(0));
  context.fillStyle = colour("well");
  context.fillRect(left, top, width - left, height);
}

function lane(view, top, { name, kind, moments, level, decisions }) {
  const { context, from, to, x } = view,
    { spans = [], lost = [] } = moments.inputs[name] || {};
  well(view, top, LANE);
  const unknown = moments.unknown(from, to),
    isShown = kind === "text" ? moments.texts.length : level;
  for (const [start, end] of isShown && moments.blindFrom === 0 ? [] : unknown) blind(view, top, x(start), x(end), moments.why);
  presence(view, top, name, decisions);
  if (level) envelope(view, top, moments.levelsIn(level, from, to));
  context.fillStyle = colour("packet");
  const middle = kind === "audio" ? top + LANE - 7 : top + 10,
    high = kind === "audio" ? 4 : LANE - 16;
  if (kind === "text") {
    texts(view, top, moments.texts, spans);
  } else {
    for (const [start, end] of spans) {
      if (end >= from && start <= to)
        context.fillRect(x(start), middle, Math.max(1, x(end) - x(start) - (kind === "video" ? 0.35 : 0)), high);
    }
    context.strokeStyle = colour("warn");
    for (const [start, end] of gaps(spans, from, to, unknown)) hatch(view, x(start), top + 8, x(end) - x(start), LANE - 10);
  }
  losses(
    view,
    top + LANE - 6,
    lost.filter(([at]) => at >= from && at <= to),
  );
}

/** While this page did not look nothing was told of packets. */
function blind({ context }, top, left, right, why) {
  context.fillStyle = colour("panel");
  context.fillRect(left, top + 4, right - left - 1, LANE - 4);
  context.fillStyle = colour("muted");
  context.textAlign = "left";
  context.fillText(fitted(context, why, right - left - 12), left + 6, top + LANE / 2 + 3);
}

/** The strip on top of a lane: how the stream was in each decision. */
function presence({ context, x }, top, name, decisions) {
  for (const { start_ns: start, end_ns: end, presence: said } of decisions) {
    const how = PRESENCE[said[name]];
    context.fillStyle = colour(how || "ok");
    context.globalAlpha = how ? 1 : 0.45;
    context.fillRect(x(start), top, Math.max(1, x(end) - x(start) + 0.8), 4);
  }
  context.globalAlpha = 1;
}

function envelope({ context, x }, top, levels) {
  context.fillStyle = colour("packet");
  const scale = db => Math.max(0, Math.min(1, (db + 60) / 60)) * (LANE - 17);
  for (const [at, rms, peak] of levels) {
    context.globalAlpha = 0.35;
    context.fillRect(x(at) - 2, top + LANE - 9 - scale(peak), 2.2, scale(peak));
    context.globalAlpha = 0.8;
    context.fillRect(x(at) - 2, top + LANE - 9 - scale(rms), 2.2, scale(rms));
  }
  context.globalAlpha = 1;
}

function texts({ context, from, to, x, width }, top, known, spans) {
  context.textAlign = "left";
  const starts = new Set();
  const shown = known.filter(each => Math.max(each.end_ns, each.start_ns + 1) > from - 5 * S && each.start_ns <= to);
  shown.forEach((each, place) => {
    starts.add(each.start_ns);
    const left = x(each.start_ns),
      next = place + 1 < shown.length ? x(shown[place + 1].start_ns) : width;
    const right = each.end_ns > each.start_ns ? Math.min(x(each.end_ns), next) : next;
    context.fillStyle = colour("packet-soft");
    context.fillRect(left, top + 9, Math.max(2, right - left - 1), LANE - 12);
    context.fillStyle = colour("packet");
    context.fillRect(left, top + 9, 2, LANE - 12);
    context.fillStyle = colour("ink");
    const begin = Math.max(left, LEFT) + 6;
    if (right - begin > 18) context.fillText(fitted(context, each.text, right - begin - 4), begin, top + LANE / 2 + 4);
  });
  context.fillStyle = colour("packet");
  for (const [start] of spans) if (!starts.has(start) && start >= from) context.fillRect(x(start), top + 9, 2, LANE - 12);
}

function fitted(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let length = Math.min(text.length, Math.floor(width / 5));
  while (length > 0 && context.measureText(`${text.slice(0, length)}…`).width > width) length--;
  return length > 2 ? `${text.slice(0, length)}…` : "";
}

/** A mark for each; where they lie too close for that, a line from the first to the last. */
function losses({ context, x }, y, lost) {
  for (const isLate of [false, true]) {
    const places = lost
      .filter(([, reason]) => (reason === LATE) === isLate)
      .map(([at]) => x(at))
      .sort((a, b) => a - b);
    let begin = 0;
    places.forEach((place, index) => {
      if (index + 1 < places.length && places[index + 1] - place < 8) return;
      mark(context, places[begin], y, isLate);
      if (index > begin) {
        mark(context, place, y, isLate);
        context.fillRect(places[begin], y - 0.7, place - places[begin], 1.4);
      }
      begin = index + 1;
    });
  }
}

/** Late: a triangle. Dropped: a cross. Told apart by their shape, not by colour alone. */
function mark(context, x, y, isLate) {
  context.strokeStyle = context.fillStyle = colour(isLate ? "warn" : "bad");
  context.lineWidth = 1.6;
  context.beginPath();
  if (isLate) {
    context.moveTo(x - 4, y - 4);
    context.lineTo(x + 4, y - 4);
    context.lineTo(x, y + 3);
    context.fill();
  } else {
    context.moveTo(x - 3, y - 3);
    context.lineTo(x + 3, y + 3);
    context.moveTo(x + 3, y - 3);
    context.lineTo(x - 3, y + 3);
    context.stroke();
  }
}

function hatch({ context }, left, top, width, height) {
  context.save();
  context.beginPath();
  context.rect(left, top, width, height);
  context.clip();
  context.lineWidth = 1;
  context.globalAlpha = 0.7;
  context.beginPath();
  for (let at = left - height; at < left + width; at += 6) {
    context.moveTo(at, top + height);
    context.lineTo(at + height, top);
  }
  context.stroke();
  context.strokeRect(left + 0.5, top + 0.5, width - 1, height - 1);
  context.restore();
}

/** As high as the label's score; a run of one label has its name in it. Under them: which were revised. */
function verdicts(view, top, decisions, labels) {
  const { context, x } = view,
    high = DECISIONS - 12;
  well(view, top, DECISIONS);
  let run = null;
  const named = () => {
    const wide = run ? Math.min(view.width, x(run.end)) - Math.max(LEFT, x(run.start)) : 0;
    if (context.measureText(run?.label ?? "").width > wide - 6) return;
    context.fillStyle = colour("ink");
    context.textAlign = "left";
    context.fillText(run.label, Math.max(LEFT, x(run.start)) + 4, top + DECISIONS - 7);
  };
  let end = decisions[0]?.end_ns ?? 0;
  context.strokeStyle = colour("warn");
  for (const each of decisions) {
    if (each.start_ns - end > (each.end_ns - each.start_ns) / 2) hatch(view, x(end), top, x(each.start_ns) - x(end), high); // nobody decided
    end = Math.max(end, each.end_ns);
    const score = each.scores[each.label] ?? 1,
      left = x(each.start_ns);
    context.fillStyle = labelColour(labels, each.label);
    context.fillRect(left, top + (1 - score) * (high - 4), Math.max(1, x(each.end_ns) - left + 0.8), score * (high - 4) + 4);
    if (each.revision) {
      context.fillStyle = colour("ink");
      context.fillRect(left, top + high, Math.max(2, x(each.end_ns) - left), 2);
    }
    if (run && run.label === each.label && each.start_ns - run.end < S / 2) run.end = each.end_ns;
    else {
      named();
      run = { label: each.label, start: each.start_ns, end: each.end_ns };
    }
  }
  named();
}
