// What is around the session: the head, the banners that say what is not well, the lists, and what is said where nothing is shown.

import { by, h, keep, say, show } from "./dom.js";
import { bytes, clock, span, when } from "./format.js";

/** A session as the list has it: it has not ended. */
export const runs = each => !each.gone && !each.status?.final;
const isRecorded = each => runs(each) && each.status?.recording === "on";

const SHUT = "This browser is not let in, or not any more. On the daemon's machine `sensorium status` prints an address that lets it in.";

/** house: what is known of the daemon. line: the socket to it. model: what is shown, or null. */
export function drawHead({ house, line, sender, model }) {
  const isLost = line.state !== "open" && (line.tries > 0 || line.silence > 1500);
  const sick = house.service?.degraded ?? [];
  const how = connection(house, line, isLost, sick);
  say(by("line-text"), how.text);
  by("line").className = `state ${how.mark}`;
  banner("banner-line", house.shut ? SHUT : isLost ? lost(line.silence) : "");
  banner("banner-sick", !isLost && !house.shut && sick.length ? `Degraded: ${sick.join("; ")}` : "");
  const sending = `${sender.state}: this page's camera and microphone go to “${sender.session}”.`;
  banner("banner-sender", sender.session ? sending : sender.state, "sender-text");
  show(by("sender-stop"), sender.session);
  recording(house.sessions.filter(isRecorded), isLost, model);
  cores(house.engine?.cores);
  const again = house.engine?.restarts ? ` · engine started again ${house.engine.restarts} times` : "";
  say(by("version"), house.service ? `Version ${house.service.version}${again}` : "");
}

function connection(house, line, isLost, sick) {
  if (house.shut) return { text: "Not let in", mark: "bad" };
  if (isLost) return { text: "Disconnected", mark: "bad" };
  if (line.state !== "open") return { text: "Connecting …", mark: "" };
  const runsNot = house.engine && house.engine.state !== "running";
  return sick.length || runsNot ? { text: "Degraded", mark: "warn" } : { text: "Connected", mark: "ok" };
}

function lost(silence) {
  const age = span(Math.round(silence / 1000) * 1e9).replace(/\.\d/, "");
  return `Disconnected from the daemon, trying again. Nothing here is live: what is shown is ${age} old.`;
}

function banner(id, text, inner = id) {
  say(by(inner), text);
  show(by(id), text);
}

function recording(recorded, isLost, model) {
  show(by("recording-flag"), recorded.length);
  say(by("recording-text"), `Recording ${recorded.map(each => each.session).join(", ")}${isLost ? ", when last heard" : ""}`);
  by("stage").classList.toggle("is-recording", Boolean(model?.isRecording));
  const first = isLost ? "Disconnected – " : recorded.length ? "● Recording – " : "";
  document.title = `${first}${model ? `${model.name} – ` : ""}Sensorium`;
}

function cores(used) {
  show(by("cores"), used);
  if (!used) return;
  const most = (used.share ?? 1) * used.all;
  say(by("cores-text"), `${used.in_use.toFixed(1)} of ${used.all.toFixed(0)} cores`);
  const title = `Sessions are refused beyond ${most.toFixed(1)}`;
  Object.assign(by("cores-meter"), { max: used.all, value: used.in_use, high: most, title });
}

// -- the lists

/** here: {kind, name} of the address; shown: the name of what is shown where the address has none. */
export function drawRail(house, here, shown) {
  const sessions = [...house.sessions].sort((a, b) => runs(b) - runs(a));
  const isHere = (kind, name) => (here.kind ? here.kind === kind && here.name === name : kind === "session" && shown === name);
  drawList("session", "sessions", sessions, each => each.session, about, isHere);
  drawList("recording", "recordings", house.recordings, each => each.name, recordingAbout, isHere);
  const count = sessions.filter(runs).length;
  say(by("menu"), count ? `Sessions (${count})` : "Sessions");
}

function about(each) {
  const ended = each.status?.state === "failed" ? "failed" : "ended";
  const state = runs(each) ? (each.status?.state ?? "starting") : ended;
  const of = each.config === each.session ? "" : (each.config ?? "");
  const more = each.replay ? `replay of ${each.replay}` : of;
  return isRecorded(each) ? { word: `${state}, recording`, mark: "recording", more } : { word: state, mark: state, more };
}

function recordingAbout(each) {
  const more = [clock(each.length_ns), each.created && when(each.created), bytes(each.bytes)].filter(Boolean).join(" · ");
  return each.state === "complete" ? { word: "", mark: "", more } : { word: each.state, mark: "degraded", more };
}

function drawList(kind, id, items, nameOf, aboutOf, isHere) {
  const make = each => {
    const parts = ["name", "word", "small"].map(className => h("span", { className }));
    parts[0].textContent = nameOf(each);
    return h("li", {}, h("a", { href: `#/${kind}/${encodeURIComponent(nameOf(each))}` }, ...parts));
  };
  keep(by(id), items, nameOf, make, (made, each) => {
    const link = made.firstElementChild;
    const { word, mark, more } = aboutOf(each);
    say(link.children[1], word);
    link.children[1].className = `word ${mark}`;
    say(link.children[2], more);
    if (isHere(kind, nameOf(each))) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
}

// -- nothing

export function drawEmpty(house, { kind, name }) {
  show(by("empty-start"), house.known);
  if (kind) {
    say(by("empty-title"), `There is no ${kind} “${name}”`);
    say(by("empty-text"), "It may have been stopped, or deleted.");
  } else if (house.known) {
    say(by("empty-title"), house.sessions.some(runs) ? "Choose a session" : "No session runs");
    say(by("empty-text"), "Start one, or open a recording. Nothing is recorded unless you ask for it.");
  }
}
