// What is known of a session around now: decisions, marks, levels, texts, each bounded, in order of time. No document, no network.

import { S } from "./format.js";

export const SHOWN_NS = 30 * S;
const KEPT_NS = 75 * S; // latency looks back a minute
const MOST = 6000;

/** Session time as this page can know it: what comes is never from the future, and the newest of it sets the clock. */
export class SessionClock {
  constructor() {
    Object.assign(this, { offset: null, speed: 1, heard: 0, stopped: true });
  }

  /** Something of session time `ns` came now. */
  hear(ns, at = performance.now()) {
    const offset = ns - at * 1e6 * this.speed;
    const jumped = this.offset === null || Math.abs(offset - this.offset) > 3 * S * Math.max(1, this.speed);
    // The least delay sets it; it leaks, so that a clock that ran ahead comes back.
    this.offset = jumped ? offset : Math.max(offset, this.offset - 2e5);
    this.heard = at;
    this.stopped = false;
  }

  run(speed) {
    if (speed !== this.speed) Object.assign(this, { speed, offset: null });
  }

  /** Stands where it was last heard of. */
  stop() {
    this.stopped = true;
  }

  now(at = performance.now()) {
    if (this.offset === null) return 0;
    const until = this.stopped ? this.heard : Math.min(at, this.heard + 2000);
    return this.offset + until * 1e6 * this.speed;
  }
}

export class Moments {
  constructor() {
    Object.assign(this, {
      decisions: [],
      ids: new Set(),
      texts: [],
      inputs: {},
      levels: {},
      newest: 0,
      blind: [],
      blindFrom: 0,
      why: "not watched",
    });
  }

  decision(decision) {
    if (this.ids.has(decision.id)) return false;
    this.ids.add(decision.id);
    const place =
      last(
        this.decisions,
        each => each.window < decision.window || (each.window === decision.window && each.revision < decision.revision),
      ) + 1;
    this.decisions.splice(place, 0, decision);
    this.newest = Math.max(this.newest, decision.end_ns);
    if (this.decisions.length > MOST) this.ids.delete(this.decisions.shift().id);
    return true;
  }

  /** spans: [[start, end], ...] that went on; lost: [[at, reason], ...]. Gives the newest start: a caption may end in the future. */
  marks({ input, spans = [], lost = [] }) {
    const lane = (this.inputs[input] ??= { spans: [], lost: [] });
    lane.spans.push(...spans);
    lane.lost.push(...lost);
    const end = spans.at(-1)?.[1] ?? 0;
    const begin = spans[0]?.[0] ?? lost[0]?.[0];
    if (begin !== undefined && this.blindFrom !== null) {
      this.blind.push([this.blindFrom, begin]);
      this.blindFrom = null;
    }
    lane.spans.splice(
      0,
      first(lane.spans, span => span[1] > end - KEPT_NS),
    );
    lane.spans.splice(0, Math.max(0, lane.spans.length - MOST));
    lane.lost.splice(0, Math.max(0, lane.lost.length - 500));
    return spans.at(-1)?.[0] ?? 0;
  }

  /** From then on nothing is told of packets, until marks come again: what is not known is no gap. */
  lookAway(ns) {
    this.blindFrom ??= ns;
  }

  /** The stretches of [from, to) of whose packets nothing is known. */
  unknown(from, to) {
    const all = this.blindFrom === null ? this.blind : [...this.blind, [this.blindFrom, Infinity]];
    return all.map(([start, end]) => [Math.max(from, start), Math.min(to, end)]).filter(([start, end]) => end > start);
  }

  level({ source = "", stream, at_ns, rms_db, peak_db }) {
    const levels = (this.levels[`${source}.${stream}`] ??= []);
    const place = last(levels, each => each[0] < at_ns) + 1;
    if (levels[place]?.[0] !== at_ns) levels.splice(place, 0, [at_ns, rms_db, peak_db]);
    if (levels.length > 2000) levels.shift();
  }

  text(text) {
    const same = each => each.start_ns === text.start_ns && each.text === text.text && each.stream === text.stream;
    if (this.texts.some(same)) return;
    this.texts.splice(last(this.texts, each => each.start_ns <= text.start_ns) + 1, 0, text);
    if (this.texts.length > 300) this.texts.shift();
  }

  /** The newest decision about that moment; undefined: there is none. */
  decisionAt(ns) {
    const place = last(this.decisions, each => each.start_ns <= ns);
    const found = this.decisions[place];
    return found && found.end_ns > ns ? found : undefined;
  }

  decisionsIn(from, to) {
    return this.decisions.filter(each => each.end_ns > from && each.start_ns < to);
  }

  levelsIn(name, from, to) {
    const levels = this.levels[name] || [];
    return levels.slice(
      first(levels, each => each[0] >= from),
      first(levels, each => each[0] > to),
    );
  }

  /** The newest level at or before ns, no older than half a second; undefined: there is none. */
  levelAt(name, ns) {
    const levels = this.levels[name] || [],
      found = levels[last(levels, each => each[0] <= ns)];
    return found && ns - found[0] < S / 2 ? found : undefined;
  }

  /** stage -> its nanoseconds in the decisions of the last minute before ns. */
  latencies(ns) {
    const stages = new Map();
    for (let place = this.decisions.length - 1; place >= 0 && this.decisions[place].end_ns > ns - 60 * S; place--) {
      for (const [stage, value] of Object.entries(this.decisions[place].latency_ns || {})) {
        if (!stages.has(stage)) stages.set(stage, []);
        stages.get(stage).push(value);
      }
    }
    return stages;
  }
}

/** Stretches of [from, to) in which nothing came though something should have: longer than three usual steps and 0.25 s.
 *  At the end longer than a second: what is under way is not missing yet. */
export function gaps(spans, from, to, unknown = []) {
  const seen = spans.slice(Math.max(0, first(spans, span => span[1] > from) - 1));
  if (seen.length < 8) return [];
  const steps = seen
    .slice(1)
    .map((span, place) => span[0] - seen[place][0])
    .sort((a, b) => a - b);
  const least = Math.max(S / 4, 3 * steps[steps.length >> 1]);
  const found = [];
  for (let place = 1; place < seen.length; place++) {
    if (seen[place][0] - seen[place - 1][1] > least) found.push([Math.max(from, seen[place - 1][1]), Math.min(to, seen[place][0])]);
  }
  if (to - seen.at(-1)[1] > Math.max(S, least)) found.push([Math.max(from, seen.at(-1)[1]), to]);
  return found.filter(([start, end]) => end > start && !unknown.some(each => each[0] < end && each[1] > start));
}

/** The place of the first that is so, of a list in which all before are not; its length if none is. */
export function first(list, is) {
  let low = 0,
    high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (is(list[middle])) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** The place of the last that is so, of a list in which all after are not; -1 if none is. */
export const last = (list, is) => first(list, each => !is(each)) - 1;
