// The page as a whole: what is in its address, the lists, the head, and the banners that say what is not well.

import { Actions } from "./actions.js";
import { get, Refused } from "./ask.js";
import { by, h, keep, say, show } from "./dom.js";
import { bytes, clock, span, when } from "./format.js";
import { Line } from "./line.js";
import { Live } from "./live.js";
import { Recorded } from "./recorded.js";
import { Sender } from "./sender.js";
import { Stage } from "./stage.js";

const LOOK_MS = 5000, LIST_MS = 15000;
const house = { sessions: [], recordings: [], engine: null, service: null, shut: "", known: false, states: "" };
const stage = new Stage();
const sender = new Sender(() => changed());
const actions = new Actions({ model: () => stage.model, sender, open, refresh });
const line = new Line(() => "/api/live", { message: heard, change: () => changed() });

// -- what the daemon says

function heard(message) {
  if (message.type === "engine") house.engine = message;
  if (message.type === "sessions") listed(message.sessions);
  changed();
}

function listed(sessions) {
  const states = sessions.map(each => `${each.session} ${each.status?.state}`).join();
  if (states !== house.states) look();
  house.states = states;
  const had = new Set(house.sessions.filter(runs).map(each => each.session));
  house.sessions = sessions;
  house.known = true;
  sender.only(sessions.filter(runs).map(each => each.session));
  if (sessions.some(each => !runs(each) && had.has(each.session))) recordings();
  const model = stage.model;
  const facts = model?.kind === "live" && sessions.find(each => each.session === model.name);
  if (facts && model.ended && runs(facts) && facts.since !== model.facts.since) route(); // another one of the same name
  else if (facts) model.update(facts);
  if (!model) route();
}

const runs = each => !each.gone && !each.status?.final;

async function look() {
  try {
    house.service = await get("/api/service");
    house.shut = "";
  } catch (refused) {
    house.shut = refused instanceof Refused && refused.status === 401 ? "closed" : "";
  }
  changed();
}

async function recordings() {
  try {
    house.recordings = (await get("/api/recordings")).reverse();
    if (!stage.model) route();
  } catch { /* the banner says that nobody answers */ }
  changed();
}

async function refresh() {
  await Promise.all([look(), recordings(), get("/api/sessions").then(listed, () => {})]);
}

// -- where we are: #/session/NAME, #/recording/NAME

function place() {
  const [, kind, name] = /^#\/(session|recording)\/(.+)$/.exec(location.hash) ?? [];
  return { kind: kind ?? "", name: name ? decodeURIComponent(name) : "" };
}

function open(kind, name) {
  const before = location.hash;
  location.hash = kind ? `#/${kind}/${encodeURIComponent(name)}` : "#/";
  if (location.hash === before) route();
}

function route() {
  const { kind, name } = place(), model = stage.model;
  if (kind === "session") {
    const facts = house.sessions.find(each => each.session === name);
    const isSame = model?.kind === "live" && model.name === name && !(facts && model.ended && runs(facts) && facts.since !== model.facts.since);
    if (!isSame) stage.show(facts ? new Live(facts, changed) : null);
  } else if (kind === "recording") {
    const facts = house.recordings.find(each => each.name === name);
    if (model?.kind !== "recorded" || model.name !== name) stage.show(facts ? new Recorded(facts, changed) : null);
    if (!facts && !house.recordings.length) recordings();
  } else {
    const newest = house.sessions.filter(runs).at(-1);
    if (newest && location.hash !== "#/") history.replaceState(null, "", `#/session/${encodeURIComponent(newest.session)}`);
    stage.show(newest && location.hash !== "#/" ? new Live(newest, changed) : null);
  }
  changed();
}

addEventListener("hashchange", () => {
  toggle(false);
  route();
  by("main").focus({ preventScroll: true });
  scrollTo(0, 0);
});

// -- what is drawn of it

let due = false;
function changed() {
  if (due) return;
  due = true;
  queueMicrotask(() => { due = false; drawHead(); drawRail(); drawEmpty(); actions.update(); });
}

function drawHead() {
  const isLost = line.state !== "open" && (line.tries > 0 || line.silence > 1500);
  const age = span(line.silence * 1e6), sick = [...(house.service?.degraded ?? [])];
  const engine = house.engine?.state;
  say(by("line-text"), house.shut ? "Not let in" : isLost ? "Disconnected" : line.state !== "open" ? "Connecting …" : sick.length || (engine && engine !== "running") ? "Degraded" : "Connected");
  by("line").className = `state ${house.shut || isLost ? "bad" : sick.length ? "warn" : "ok"}`;
  banner("banner-line", house.shut ? "This browser is not let in, or not any more. On the daemon's machine `sensorium status` prints an address that lets it in."
    : isLost ? `Disconnected from the daemon, trying again. Nothing here is live: what is shown is ${age.replace(/\.\d/, "")} old.` : "");
  banner("banner-sick", isLost || house.shut ? "" : sick.length ? `Degraded: ${sick.join("; ")}` : "");
  banner("banner-sender", sender.session ? `${sender.state}: this page's camera and microphone go to “${sender.session}”.` : sender.state, "sender-text");
  show(by("sender-stop"), sender.session);

  const recorded = house.sessions.filter(each => runs(each) && each.status?.recording === "on").map(each => each.session);
  show(by("recording-flag"), recorded.length);
  say(by("recording-text"), `Recording ${recorded.join(", ")}${isLost ? ", when last heard" : ""}`);
  const model = stage.model;
  by("stage").classList.toggle("is-recording", Boolean(model?.isRecording));
  document.title = `${isLost ? "Disconnected – " : recorded.length ? "● Recording – " : ""}${model ? `${model.name} – ` : ""}Sensorium`;

  const cores = house.engine?.cores;
  show(by("cores"), cores);
  if (cores) {
    say(by("cores-text"), `${cores.in_use.toFixed(1)} of ${cores.all.toFixed(0)} cores`);
    Object.assign(by("cores-meter"), { max: cores.all, value: cores.in_use, high: cores.all * (cores.share ?? 1), title: `Sessions are refused beyond ${((cores.share ?? 1) * cores.all).toFixed(1)}` });
  }
  say(by("version"), house.service ? `Version ${house.service.version}${house.engine?.restarts ? ` · engine started again ${house.engine.restarts} times` : ""}` : "");
}

function banner(id, text, inner = id) {
  say(by(inner), text);
  show(by(id), text);
}

function drawRail() {
  const here = place(), shown = stage.model;
  const current = (link, kind, name) => {
    const is = (here.kind === kind && here.name === name) || (!here.kind && kind === "session" && shown?.name === name);
    if (is) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  };
  const item = (kind, name) => h("li", {}, h("a", { href: `#/${kind}/${encodeURIComponent(name)}` }, h("span", { className: "name" }, name), h("span", { className: "word" }), h("span", { className: "small" })));
  const sessions = [...house.sessions].sort((a, b) => runs(b) - runs(a));
  keep(by("sessions"), sessions, each => each.session, each => item("session", each.session), (made, each) => {
    const link = made.firstElementChild, state = runs(each) ? each.status?.state ?? "starting" : each.status?.state === "failed" ? "failed" : "ended";
    const recording = runs(each) && each.status?.recording === "on";
    say(link.children[1], recording ? `${state}, recording` : state);
    link.children[1].className = `word ${recording ? "recording" : state}`;
    say(link.children[2], each.replay ? `replay of ${each.replay}` : each.config && each.config !== each.session ? each.config : "");
    current(link, "session", each.session);
  });
  keep(by("recordings"), house.recordings, each => each.name, each => item("recording", each.name), (made, each) => {
    const link = made.firstElementChild;
    say(link.children[1], each.state === "complete" ? "" : each.state);
    link.children[1].className = `word ${each.state === "complete" ? "" : "degraded"}`;
    say(link.children[2], [clock(each.length_ns), each.created && when(each.created), bytes(each.bytes)].filter(Boolean).join(" · "));
    current(link, "recording", each.name);
  });
  const count = house.sessions.filter(runs).length;
  say(by("menu"), count ? `Sessions (${count})` : "Sessions");
}

function drawEmpty() {
  if (stage.model) return;
  const { kind, name } = place();
  say(by("empty-title"), kind ? `There is no ${kind} “${name}”` : house.known ? house.sessions.some(runs) ? "Choose a session" : "No session runs" : "Nothing is shown yet");
  say(by("empty-text"), kind ? "It may have been stopped, or deleted." : house.known ? "Start one, or open a recording. Nothing is recorded unless you ask for it." : "Waiting for the daemon …");
  show(by("empty-start"), house.known);
}

function toggle(is) {
  by("rail").classList.toggle("open", is);
  by("menu").setAttribute("aria-expanded", String(is));
}
by("menu").addEventListener("click", () => toggle(!by("rail").classList.contains("open")));

refresh();
setInterval(() => document.hidden || look(), LOOK_MS);
setInterval(() => document.hidden || recordings(), LIST_MS);
setInterval(() => actions.update(), 500);
