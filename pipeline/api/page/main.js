// The page as a whole: what the daemon says, what the address says, and what is therefore shown.

import { Actions } from "./actions.js";
import { get, Refused } from "./ask.js";
import { by } from "./dom.js";
import { drawEmpty, drawHead, drawRail, runs } from "./frame.js";
import { Line } from "./line.js";
import { Live } from "./live.js";
import { Recorded } from "./recorded.js";
import { Sender } from "./sender.js";
import { Stage } from "./stage.js";

const LOOK_MS = 5000,
  LIST_MS = 15000;
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
  if (facts && model.ended && runs(facts) && facts.since !== model.facts.since)
    route(); // another one of the same name
  else if (facts) model.update(facts);
  if (!model) route();
}

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
  } catch {
    /* the banner says that nobody answers */
  }
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
  const { kind, name } = place(),
    model = stage.model;
  if (kind === "session") {
    const facts = house.sessions.find(each => each.session === name);
    const isSame =
      model?.kind === "live" && model.name === name && !(facts && model.ended && runs(facts) && facts.since !== model.facts.since);
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
  queueMicrotask(() => {
    due = false;
    const model = stage.model;
    drawHead({ house, line, sender, model });
    drawRail(house, place(), model?.name);
    if (!model) drawEmpty(house, place());
    actions.update();
  });
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
