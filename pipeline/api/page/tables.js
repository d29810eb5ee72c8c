// The tables: latency by stage, and the streams.

import { by, h, keep, say } from "./dom.js";
import { counts, ms, quantile, signed, span, sum } from "./format.js";

const ORDER = ["transport", "align", "encode", "fuse", "attribute", "total"];

// -- latency

export function latency(stages, deadline, note) {
  const names = [...stages.keys()].sort((a, b) => ((ORDER.indexOf(a) + 99) % 99) - ((ORDER.indexOf(b) + 99) % 99));
  const rows = names.map(name => ({ name, p50: quantile(stages.get(name), 0.5), p99: quantile(stages.get(name), 0.99) }));
  const most = Math.max(deadline || 0, ...rows.map(row => row.p99), 1);
  keep(
    by("latency").tBodies[0],
    rows,
    row => row.name,
    row => {
      const track = h(
        "span",
        { className: "track" },
        h("span", { className: "fill faint" }),
        h("span", { className: "fill" }),
        h("span", { className: "deadline" }),
      );
      return h("tr", {}, h("th", { scope: "row" }, row.name), h("td"), h("td"), h("td", { className: "wide" }, track));
    },
    (made, row) => {
      say(made.children[1], ms(row.p50));
      say(made.children[2], ms(row.p99));
      const [wide, narrow, line] = made.lastElementChild.firstElementChild.children;
      wide.style.width = `${(100 * Math.max(0, row.p99)) / most}%`;
      narrow.style.width = `${(100 * Math.max(0, row.p50)) / most}%`;
      line.style.left = `${(100 * (deadline || most)) / most}%`;
      line.hidden = !deadline;
      made.classList.toggle("total", row.name === "total");
      made.classList.toggle("over", row.name === "total" && deadline > 0 && row.p99 > deadline);
    },
  );
  say(by("latency-note"), rows.length ? note : "Nothing is timed: no decisions yet, or the run keeps to no clock.");
}

// -- streams

const COLUMNS = ["stream", "state", "in the decision", "rate", "age", "clock", "late", "dropped", "faults"];

export function streams(list, found, sourceOf) {
  const head = { name: "" };
  keep(
    by("streams"),
    [head, ...list],
    each => each.name,
    each => {
      const cell = (name, place) =>
        h(
          each === head ? "span" : "span",
          {
            attributes: { role: each === head ? "columnheader" : place ? "cell" : "rowheader" },
            dataset: { name },
          },
          each === head ? name : "",
        );
      return h("div", { className: each === head ? "card-row head" : "card-row", attributes: { role: "row" } }, ...COLUMNS.map(cell));
    },
    (row, each) => each !== head && streamRow(row, each, found, sourceOf(each.name)),
  );
}

function streamRow(row, each, found, source) {
  const cells = row.children,
    how = found?.presence[each.name] ?? "";
  const drift = each.drift_ppm == null ? "" : `${signed(each.drift_ppm, 1)} ppm`;
  const error = each.uncertainty_ns == null ? "" : `stamps ± ${ms(each.uncertainty_ns)} ms`;
  const values = [
    each.name,
    each.state,
    how,
    each.rate_hz ? `${each.rate_hz.toFixed(each.rate_hz < 10 ? 1 : 0)} Hz` : "–",
    each.age_ns == null ? "–" : span(each.age_ns),
    [drift, error, each.quality ? `(${each.quality})` : ""].filter(Boolean).join(" ") || "–",
    String(each.late || 0),
    counts(each.dropped) || "0",
    counts(each.faults) || "none",
  ];
  values.forEach((value, place) => say(cells[place], value));
  cells[0].title = [source, each.detail].filter(Boolean).join(": ");
  cells[1].className = `word ${each.state}`;
  cells[2].className = `word ${how}`;
  cells[6].classList.toggle("some", each.late > 0);
  cells[7].classList.toggle("some", sum(each.dropped) > 0);
  cells[8].classList.toggle("some", sum(each.faults) > 0);
}
