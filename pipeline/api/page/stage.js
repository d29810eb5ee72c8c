// What is shown of one session or recording, in all its panels, again and again.

import { by, h, keep, say, show } from "./dom.js";
import { bytes, clock, S, span, when } from "./format.js";
import { last, SHOWN_NS } from "./moments.js";
import * as panels from "./panels.js";
import { latency, streams } from "./tables.js";
import { Timeline } from "./timeline.js";
import { fillTable, reading } from "./words.js";

const SLOW_MS = 500; // tables, which nobody reads faster

export class Stage {
  constructor() {
    Object.assign(this, { model: null, cursor: null, heldAt: null, slowAt: 0 });
    this.timeline = new Timeline(by("timeline"), by("key"), ago => this.look(ago));
    by("cursor").addEventListener("input", () => this.look(Number(by("cursor").value) * S, false));
    by("hold").addEventListener("click", () => this.hold(this.heldAt === null));
    by("thumb").addEventListener("input", () => this.model?.seek?.(Number(by("thumb").value) * 1e6));
    by("table-wrap").addEventListener("toggle", () => {
      this.slowAt = 0;
    });
    addEventListener("resize", () => {
      this.slowAt = 0;
    });
    setInterval(() => document.hidden || this.draw(), 40);
  }

  show(model) {
    this.model?.close();
    Object.assign(this, { model, cursor: null, slowAt: 0, drawnAt: 0 });
    this.hold(false);
    by("cursor").value = 0;
    show(by("stage"), model);
    show(by("empty"), !model);
    if (!model) return;
    const recorded = model.kind === "recorded";
    for (const id of ["scrub", "recorded-actions", "facts-panel"]) show(by(id), recorded);
    if (recorded) show(by("delay-part"), false);
    for (const id of ["live-actions", "latency-panel", "streams-panel", "health-panel", "hold"]) show(by(id), !recorded);
    by("stage").classList.toggle("recorded", recorded);
    say(by("title"), model.name);
    say(by("timeline-title"), recorded ? "The 30 s before it, aligned" : "The last 30 s, aligned");
    say(by("said"), "");
    say(by("reading"), "Move over the timeline, or use the slider, to read the values of a moment.");
    this.draw();
  }

  /** ago: nanoseconds before the right edge, negative; null: no moment. */
  look(ago, byPointer = true) {
    this.cursor = ago === null ? null : Math.max(-SHOWN_NS, Math.min(0, ago));
    if (byPointer && ago !== null) by("cursor").value = (this.cursor / S).toFixed(1);
    this.slowAt = 0;
  }

  hold(is) {
    this.heldAt = is && this.model ? this.model.to : null;
    by("hold").setAttribute("aria-pressed", String(is));
    say(by("hold"), is ? "Held: let it run" : "Hold");
  }

  draw() {
    const model = this.model,
      now = performance.now();
    if (!model || now - (this.drawnAt ?? 0) < panels.frameMs()) return;
    this.drawnAt = now;
    const to = this.heldAt ?? model.to;
    this.#now(model);
    this.timeline.draw({
      moments: model.moments,
      inputs: model.inputs,
      labels: model.labels,
      levelOf: name => model.levelOf(name),
      to,
      cursor: this.cursor === null ? null : to + this.cursor,
      stale: Boolean(model.stale),
    });
    if (now - this.slowAt >= SLOW_MS) {
      this.slowAt = now;
      this.#slow(model, to);
    }
  }

  #now(model) {
    const found = model.decision,
      to = model.to,
      stale = model.stale;
    const late = found && model.kind === "live" && !model.ended && !stale && to - found.end_ns > 3 * S;
    panels.decision(
      found,
      model.labels,
      stale ? `, ${stale.toLowerCase()}` : late ? `, ${span(to - found.end_ns)} ago` : "",
      model.kind === "recorded" ? "none of this moment" : "none yet",
    );
    panels.verdict(late ? undefined : found, model.labels);
    panels.picture(model.picture, this.#pictureSays(model, stale, to));
    const name = Object.keys(model.inputs)
      .map(input => model.levelOf(input))
      .find(Boolean);
    const isHeard = name && (model.kind === "recorded" || (!stale && !model.ended));
    panels.level(isHeard ? newest(model, name, to) : undefined, name?.split(".").at(-1));
    say(by("clock"), clock(to));
  }

  #pictureSays(model, stale, to) {
    if (model.ended && model.kind === "live")
      return { stale: model.picture ? "Ended: the last picture" : "", reason: "The session has ended" };
    const seen = model.picture,
      age = seen ? to - seen.at_ns : 0;
    if (stale) return { stale, reason: stale };
    const old = seen && model.kind === "live" && age > 1.5 * S * Math.max(1, model.status?.speed ?? 1) ? `Not live: ${span(age)} old` : "";
    const hasVideo = Object.values(model.inputs).includes("video");
    return { stale: old, reason: hasVideo ? "No picture yet" : "This session has no picture" };
  }

  #slow(model, to) {
    const context = { moments: model.moments, inputs: model.inputs, levelOf: name => model.levelOf(name), to };
    panels.texts(model.moments.texts, model.to);
    if (this.cursor !== null) {
      const text = reading(context, to + this.cursor);
      say(by("reading"), text);
      by("cursor").setAttribute("aria-valuetext", text);
    }
    if (by("table-wrap").open) fillTable(by("table"), context);
    if (model.kind === "recorded") this.#recorded(model);
    else this.#live(model);
  }

  #live(model) {
    const { status, facts } = model,
      ended = model.ended,
      state = ended ? (status?.state === "failed" ? "failed" : "ended") : (status?.state ?? "starting");
    say(by("state"), model.stale && !ended ? "not live" : state);
    by("state").className = `pill ${model.stale && !ended ? "stalled" : state}`;
    say(
      by("about"),
      [
        facts.replay ? `replay of ${facts.replay}` : facts.config,
        status && `${status.model} · ${status.backend}`,
        status && `${status.decisions} decisions, ${status.missed_deadlines} missed, ${status.skipped} skipped`,
      ]
        .filter(Boolean)
        .join(" · "),
    );
    panels.delay(model.decision, model.moments.latencies(model.to), model.deadline);
    latency(
      model.moments.latencies(model.to),
      model.deadline,
      model.deadline ? `The line is the deadline, ${span(model.deadline)} after the window's end, which total counts from.` : "",
    );
    streams(status?.streams ?? [], model.decision, name => model.sourceOf(name));
    panels.health(reasons(model));
    panels.events(model.events);
  }

  #recorded(model) {
    const { facts } = model,
      length = model.length;
    by("thumb").max = Math.ceil(length / 1e6);
    if (document.activeElement !== by("thumb")) by("thumb").value = Math.round(model.at / 1e6);
    by("thumb").setAttribute("aria-valuetext", `${clock(model.at)} of ${clock(length)}`);
    say(by("thumb-text"), clock(model.at));
    say(by("thumb-end"), clock(length));
    panels.strip(by("strip"), model.moments.decisions, model.labels, length, model.at);
    say(by("state"), facts.state);
    by("state").className = `pill ${facts.state === "complete" ? "ended" : facts.state === "recording" ? "failed" : "degraded"}`;
    say(by("about"), [facts.created && when(facts.created), facts.model].filter(Boolean).join(" · "));
    const pairs = [
      ["session", facts.session],
      ["created", facts.created && when(facts.created)],
      ["length", clock(length)],
      ["size", bytes(facts.bytes)],
      ["model", facts.model],
      ["streams", Object.keys(facts.streams ?? {}).join(", ")],
      ["labels given by people", (facts.labels ?? []).join(", ") || "none"],
      ["decisions read", `${model.moments.decisions.length}${model.whole ? "" : ", around the thumb"}`],
      ["problem", model.problem],
    ];
    keep(
      by("facts"),
      pairs.filter(([, value]) => value),
      ([name]) => name,
      ([name]) => h("div", {}, h("dt", {}, name), h("dd")),
      (made, [, value]) => say(made.lastElementChild, value),
    );
  }
}

/** The level at that time, or just before it. */
function newest(model, name, to) {
  const levels = model.moments.levels[name] ?? [],
    found = levels[last(levels, each => each[0] <= to + S / 4)];
  return found && Math.abs(to - found[0]) < S ? found : undefined;
}

/** Why a session is not as it should be. */
export function reasons(model) {
  const { status } = model,
    found = [];
  if (model.gone)
    found.push({
      text: `Ended${model.gone.why ? `: ${model.gone.why}` : ""}${model.gone.exit_code ? ` (exit code ${model.gone.exit_code})` : ""}.`,
      well: !model.gone.exit_code,
    });
  if (model.stale) found.push({ text: `${model.stale}.` });
  if (model.recording.startsWith("stopped")) found.push({ text: `Recording ${model.recording}.` });
  if (!status || model.ended) return found;
  for (const each of status.streams) {
    if (["connecting", "stalled", "lost", "muted"].includes(each.state))
      found.push({ text: `${each.name} is ${each.state}${each.age_ns == null ? "" : `; its newest packet is ${span(each.age_ns)} old`}.` });
  }
  if (status.state === "degraded" && !found.length)
    found.push({ text: "The session is degraded: one of its parts is being started again." });
  return found;
}
