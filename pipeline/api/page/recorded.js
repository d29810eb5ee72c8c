// A recording as this page knows it: all at once for a short one, around the thumb for a long one.

import { get, recording as path } from "./ask.js";
import { S } from "./format.js";
import { Moments } from "./moments.js";
import { Shelf } from "./shelf.js";

const WHOLE = 5000; // decisions that are read at once
const KINDS = ["video", "audio", "text", "series"];

export class Recorded {
  kind = "recorded";
  events = [];
  stale = "";
  recording = "";
  isRecording = false;
  ended = true;

  constructor(facts, changed) {
    Object.assign(this, { name: facts.name, facts, changed, at: 0, labels: [], inputs: {}, whole: false, problem: facts.problem ?? "" });
    this.moments = new Moments();
    this.moments.why = "packets are not shown in a recording";
    this.shelf = new Shelf(facts.name, this.moments);
    this.ready = this.#open();
  }

  get length() {
    return Math.max(this.facts.length_ns, this.moments.newest, 1);
  }
  get to() {
    return this.at;
  }
  get deadline() {
    return 0;
  }
  get decision() {
    return this.moments.decisionAt(this.at);
  }
  get picture() {
    return this.shelf.seen;
  }

  levelOf(input) {
    return this.inputs[input] === "audio" ? Object.keys(this.moments.levels)[0] : undefined;
  }

  sourceOf() {
    return "";
  }
  door() {
    return undefined;
  }

  /** The thumb is there. */
  seek(ns) {
    this.at = Math.max(0, Math.min(this.length, ns));
    this.shelf.want(this.at);
    this.shelf.levels(this.at - 30 * S, this.at);
    if (!this.whole) this.#around();
    this.changed();
  }

  close() {
    this.shelf.close();
  }

  async #open() {
    try {
      await Promise.all([this.#decisions(0, null, WHOLE), this.shelf.texts()]);
      this.whole = this.moments.decisions.length < WHOLE;
    } catch (refused) {
      this.problem = refused.message;
    }
    this.#learn();
    this.seek(this.at);
  }

  async #decisions(from, to, limit) {
    const said = await get(`${path(this.name)}/decisions?from_ns=${from}${to === null ? "" : `&to_ns=${to}`}&limit=${limit}`);
    said.decisions.forEach(each => this.moments.decision(each));
  }

  /** Of a long one: what lies around the thumb, one question at a time. */
  async #around() {
    if (this.looking) return;
    this.looking = true;
    const from = Math.max(0, Math.round(this.at - 35 * S)),
      at = this.at;
    await this.#decisions(from, Math.round(this.at + 5 * S), 1000).catch(() => {});
    this.looking = false;
    this.changed();
    if (Math.abs(this.at - at) > S) this.#around();
  }

  #learn() {
    const one = this.moments.decisions[0],
      streams = Object.entries(this.facts.streams ?? {});
    if (!one) {
      // imported, or killed at once
      this.inputs = Object.fromEntries(streams.map(([stream, kind]) => [stream.split(".").at(-1), kind]));
      return;
    }
    this.labels = Object.keys(one.scores);
    const kindOf = name => (KINDS.includes(name) ? name : (streams.find(([stream]) => stream.split(".").at(-1) === name)?.[1] ?? "series"));
    this.inputs = Object.fromEntries(Object.keys(one.presence).map(name => [name, kindOf(name)]));
  }
}
