// A running session as this page knows it: what comes over its socket, and the session's time.

import { session as path } from "./ask.js";
import { S, span } from "./format.js";
import { Line } from "./line.js";
import { Moments, SessionClock } from "./moments.js";
import { Shelf } from "./shelf.js";

const QUIET_MS = 3000;
const REPLAY_LOOK_MS = 250;
const MOST_EVENTS = 100;

export class Live {
  kind = "live";

  /** facts: the session as the list has it. changed(): something of note is new. */
  constructor(facts, changed) {
    Object.assign(this, {
      name: facts.session,
      facts,
      changed,
      status: facts.status,
      gone: facts.gone,
      seen: null,
      events: [],
      told: 0,
      statusAt: performance.now(),
    });
    this.moments = new Moments();
    this.clock = new SessionClock();
    this.line = new Line(() => `${path(this.name)}/live?after=${this.moments.decisions.at(-1)?.id ?? "0"}`, {
      message: message => this.#message(message),
      picture: (header, jpeg) => this.#picture(header, jpeg),
      change: () => {
        if (this.line?.state === "broken") this.moments.lookAway(this.clock.now());
        changed();
      },
    });
    this.#follow();
  }

  get labels() {
    return this.facts.labels ?? [];
  }
  get inputs() {
    return this.facts.inputs ?? {};
  }
  get deadline() {
    return this.facts.window?.deadline_ns ?? 0;
  }
  get to() {
    return this.clock.now();
  }
  get ended() {
    return Boolean(this.gone || this.status?.final);
  }
  get recording() {
    return this.ended ? "" : (this.status?.recording ?? (this.facts.recording ? "on" : ""));
  }
  get isRecording() {
    return this.recording === "on";
  }

  /** Why what is shown is not what is: empty, or a line. */
  get stale() {
    if (this.ended) return "";
    const age = span(this.age * 1e6);
    if (this.line.state === "ended") return `This session is not there: ${this.line.why}.`;
    if (this.line.state !== "open") return `Not live: ${age} old`;
    return performance.now() - this.statusAt > QUIET_MS ? `Not live: no news for ${age}` : "";
  }

  /** Milliseconds since anything was heard of the session. */
  get age() {
    return performance.now() - Math.max(this.clock.heard, this.statusAt);
  }

  get decision() {
    return this.moments.decisions.at(-1);
  }

  /** The newest picture of the stream that is shown. */
  get picture() {
    return this.shelf ? this.shelf.seen : this.seen;
  }

  /** Whose sound an input hears: the name of its levels; undefined: it is no sound, or nothing came yet. */
  levelOf(input) {
    if (this.inputs[input] !== "audio") return undefined;
    const names = Object.keys(this.moments.levels),
      source = this.sourceOf(input);
    return names.find(name => name.startsWith(`${source}.`)) ?? (this.shelf ? names[0] : undefined);
  }

  sourceOf(input) {
    return Object.entries(this.facts.sources ?? {}).find(([, inputs]) => inputs.includes(input))?.[0] ?? "";
  }

  door(kind) {
    return Object.entries(this.status?.doors ?? {}).find(([, doors]) => kind in doors)?.[0];
  }

  /** The list has news of it. */
  update(facts) {
    this.facts = { ...this.facts, ...facts };
    this.gone = facts.gone ?? this.gone;
    if (facts.status) this.#status(facts.status, false);
  }

  close() {
    this.line.end();
    clearInterval(this.following);
    this.shelf?.close();
    this.seen?.bitmap.close();
  }

  #message(message) {
    switch (message.type) {
      case "session":
        this.facts = { ...this.facts, ...message };
        this.#follow();
        break;
      case "status":
        this.#status(message.status, true);
        break;
      case "decision":
        if (this.moments.decision(message.decision)) this.#hear(message.decision.end_ns);
        return;
      case "level":
        this.moments.level(message);
        this.#hear(message.at_ns);
        return;
      case "marks":
        this.#hear(this.moments.marks(message));
        return;
      case "text":
        this.moments.text(message);
        this.#hear(message.start_ns);
        return;
      case "gone":
        this.gone = message;
        this.clock.stop();
        this.line.end(message.why);
        break;
      case "missed":
        this.#event(`this page was too slow for ${Object.keys(message.dropped).join(", ")}`);
        break;
    }
    this.changed();
  }

  #status(status, news) {
    if (news) this.statusAt = performance.now();
    if (this.status?.final && !status.final && status.now_ns >= this.status.now_ns) return;
    this.status = status;
    this.clock.run(status.speed || 1);
    if (status.final) this.clock.stop();
    else if (news) this.#hear(status.now_ns);
    if (news) (status.events ?? []).forEach(line => this.#event(line));
  }

  #hear(ns) {
    if (ns > 0 && !this.ended) this.clock.hear(ns);
  }

  #event(line) {
    this.events.push({ id: this.told++, at: this.clock.now(), line });
    if (this.events.length > MOST_EVENTS) this.events.shift();
  }

  async #picture(header, jpeg) {
    const name = `${header.source}.${header.stream}`;
    this.shown ??= name;
    if (name !== this.shown && performance.now() - (this.pictureAt ?? 0) < 2000) return; // another camera: it waits its turn
    this.shown = name;
    this.pictureAt = performance.now();
    this.#hear(header.at_ns);
    const bitmap = await createImageBitmap(jpeg).catch(() => null); // a picture that is damaged is none
    if (!bitmap) return;
    if (this.seen && this.seen.at_ns > header.at_ns && this.seen.at_ns - header.at_ns < S) return bitmap.close();
    this.seen?.bitmap.close();
    this.seen = { bitmap, at_ns: header.at_ns, name };
  }

  /** A replay has no camera: its pictures, sound and texts are looked up in the recording that it replays. */
  #follow() {
    if (!this.facts.replay || this.shelf) return;
    this.shelf = new Shelf(this.facts.replay, this.moments);
    this.moments.why = "packets are not shown in a replay";
    this.shelf.texts();
    this.following = setInterval(() => {
      if (this.line.state !== "open" || this.ended) return;
      const now = this.decision?.end_ns ?? this.to;
      this.shelf.want(now);
      this.shelf.levels(now - 30 * S, now + 5 * S);
    }, REPLAY_LOOK_MS);
  }
}
