// The timeline in words: the values of a moment, and a table.

import { h, keep, say } from "./dom.js";
import { clock, counts, ms, S, span } from "./format.js";

/** A moment in words, for the line under the canvas. */
export function reading({ moments, inputs, levelOf, to }, at) {
  const decision = moments.decisionAt(at),
    parts = [`${clock(at)}, ${((to - at) / S).toFixed(1)} s ago`];
  if (decision) {
    parts.push(`${decision.label} ${(decision.scores[decision.label] ?? 0).toFixed(2)}${decision.revision ? " (revised)" : ""}`);
    for (const [question, answer] of Object.entries(decision.also ?? {})) parts.push(`${question}: ${answer}`);
    if (decision.latency_ns?.total !== undefined)
      parts.push(
        `decided ${decision.latency_ns.total < 0 ? "before its window's end" : `${ms(decision.latency_ns.total)} ms after its window`}`,
      );
  } else parts.push("no decision");
  for (const name of Object.keys(inputs)) parts.push(`${name}: ${streamAt(moments, name, decision, levelOf(name), at)}`);
  return parts.join(" · ");
}

function streamAt(moments, name, decision, level, at) {
  const { spans = [], lost = [] } = moments.inputs[name] || {};
  const found = [decision?.presence[name] ?? "unknown"];
  const age = decision?.age_ns[name];
  if (age != null && decision.presence[name] !== "present") found.push(`age ${span(age)}`);
  const near = spans.filter(([start, end]) => start <= at + S / 10 && end >= at - S / 10).length;
  if (near) found.push(`${near} packets within 0.1 s`);
  const gone = lost.filter(([when]) => Math.abs(when - at) < S / 10);
  if (gone.length) found.push(counts(gone.reduce((all, [, reason]) => ({ ...all, [reason]: (all[reason] || 0) + 1 }), {})));
  const loud = level && moments.levelAt(level, at);
  if (loud) found.push(`${loud[1].toFixed(0)} dB`);
  return found.join(", ");
}

/** The text alternative: the decisions of the last 30 s as rows, newest first, one a second. */
export function fillTable(table, { moments, inputs, to }) {
  const names = Object.keys(inputs),
    columns = ["time", "label", "score", ...names, "total ms"];
  keep(
    table.tHead,
    [columns.join()],
    key => key,
    () => h("tr", {}, ...columns.map(name => h("th", { scope: "col" }, name))),
  );
  const rows = [];
  for (let second = Math.floor(to / S); second > to / S - 30 && second >= 0; second--) {
    const found = moments.decisionsIn(second * S, (second + 1) * S).at(-1);
    if (found) rows.push(found);
  }
  keep(
    table.tBodies[0],
    rows,
    row => row.id,
    row => h("tr", {}, ...columns.map((name, place) => h(place ? "td" : "th", place ? {} : { scope: "row" }))),
    (made, row) => {
      const values = [
        clock(row.start_ns),
        row.label,
        (row.scores[row.label] ?? 0).toFixed(2),
        ...names.map(name => row.presence[name] ?? ""),
        row.latency_ns?.total === undefined ? "" : ms(row.latency_ns.total),
      ];
      values.forEach((value, place) => say(made.children[place], value));
    },
  );
}
