// The buttons and the dialogs behind them.

import { get, post, recording, remove, session } from "./ask.js";
import { by, h, keep, say, show } from "./dom.js";

export class Actions {
  /** model(): what is shown. sender: of this page's camera. open(kind, name): shows another. */
  constructor({ model, sender, open, refresh }) {
    Object.assign(this, { model, sender, open, refresh, configs: [] });
    const on = (id, what) => by(id).addEventListener("click", () => this.#try(by(id), what));
    on("stop", () => this.#stop());
    on("record", () => this.#done(post(`${session(model().name)}/record`, { on: !model().isRecording })));
    on("send", () => this.#send());
    on("sources", () => this.#sources());
    on("replay", () => this.#replay());
    on("purge", () => this.#purge());
    on("start", () => this.#start());
    on("empty-start", () => this.#start());
    on("sender-stop", () => sender.stop());
    for (const close of document.querySelectorAll("dialog .close")) close.addEventListener("click", () => close.closest("dialog").close());
    by("start-config").addEventListener("change", () => this.#about());
    this.#form("start", () => this.#go());
    by("sources-go").addEventListener("click", () => this.#inDialog("sources", () => this.#attach()));
    by("say").addEventListener("submit", event => {
      event.preventDefault();
      this.#try(by("say"), () => this.#say());
    });
  }

  /** The buttons as they are now. */
  update() {
    const model = this.model();
    if (model?.kind !== "live") return;
    const offers = model.door("offer"),
      isSending = this.sender.session === model.name;
    for (const id of ["record", "stop", "sources", "send"]) by(id).disabled = model.ended;
    by("record").setAttribute("aria-pressed", String(model.isRecording));
    say(by("record"), model.isRecording ? "Stop recording" : "Record");
    show(by("record"), !model.facts.replay);
    show(by("sources"), model.facts.live);
    show(by("send"), model.facts.live || offers);
    say(by("send"), isSending ? "Stop sending" : "Use this camera and microphone");
    show(by("say"), !model.ended && ((isSending && this.sender.canType) || model.door("text")));
  }

  async #try(element, what) {
    if (element.getAttribute("aria-busy") === "true") return;
    element.setAttribute("aria-busy", "true");
    say(by("said"), "");
    try {
      await what();
    } catch (error) {
      this.#tell(error.message, true);
    } finally {
      element.removeAttribute("aria-busy");
      this.update();
    }
  }

  #tell(line, isBad = false) {
    by("said").classList.toggle("bad", isBad);
    say(by("said"), line);
  }

  async #done(answer) {
    this.#tell((await answer).done);
    await this.refresh();
  }

  #form(name, what) {
    by(`${name}-form`).addEventListener("submit", event => {
      event.preventDefault();
      this.#inDialog(name, what);
    });
  }

  /** What is refused is said in the dialog, which stays. */
  async #inDialog(name, what) {
    const problem = by(`${name}-problem`);
    say(problem, "");
    try {
      await what();
    } catch (error) {
      say(problem, error.message);
    }
  }

  async #stop() {
    const { name, isRecording } = this.model();
    await this.#sure(
      "Stop this session?",
      `“${name}” ends${isRecording ? ", and with it its recording, which is kept" : ""}.`,
      "Stop it",
      () => this.#done(remove(session(name))),
    );
  }

  async #send() {
    const model = this.model();
    if (this.sender.session === model.name) return this.sender.stop();
    const source = await this.#offer(model);
    if (!source) return this.#tell("No source of this session takes a browser just now. Attach one: Sources …", true);
    await this.sender.start(model.name, source);
  }

  /** A source that takes a browser; a session that has just been started tells of it a little later. */
  async #offer(model) {
    const begun = performance.now(),
      starts = () => (model.status?.state ?? "starting") === "starting";
    while (!model.door("offer") && !model.ended && performance.now() - begun < (starts() ? 30_000 : 4000)) {
      this.#tell("Looking for a source that takes a browser …");
      await new Promise(done => setTimeout(done, 200));
    }
    this.#tell("");
    return model.door("offer");
  }

  async #say() {
    const model = this.model(),
      text = by("say-text").value.trim();
    if (!text) return;
    if (this.sender.session === model.name && this.sender.canType) this.sender.type(text);
    else await post(`${session(model.name)}/text`, { text, source: model.door("text") ?? null });
    by("say-text").value = "";
  }

  // -- start

  async #start() {
    say(by("start-problem"), "");
    by("start-record").checked = false;
    by("start-name").value = "";
    by("start-dialog").showModal();
    await this.#inDialog("start", async () => {
      this.configs = (await get("/api/configs")).configs;
      const chosen = by("start-config").value;
      by("start-config").replaceChildren(...this.configs.map(each => h("option", { value: each.name }, each.name)));
      if (this.configs.some(each => each.name === chosen)) by("start-config").value = chosen;
      this.#about();
    });
  }

  #about() {
    const chosen = this.configs.find(each => each.name === by("start-config").value);
    const sources = Array.isArray(chosen?.sources) ? chosen.sources : Object.keys(chosen?.sources ?? {});
    say(
      by("start-about"),
      chosen
        ? [
            chosen.title && `${chosen.title.replace(/\.$/, "")}.`,
            sources.length && `Sources: ${sources.join(", ")}.`,
            chosen.model && `Model: ${chosen.model}.`,
          ]
            .filter(Boolean)
            .join(" ")
        : "",
    );
  }

  async #go() {
    const asked = { config: by("start-config").value, session: by("start-name").value || null, record: by("start-record").checked };
    by("start-go").disabled = true;
    try {
      const answer = await post("/api/sessions", asked);
      by("start-dialog").close();
      await this.refresh();
      this.open("session", answer.session ?? asked.session ?? asked.config);
    } finally {
      by("start-go").disabled = false;
    }
  }

  // -- sources

  async #sources() {
    say(by("sources-problem"), "");
    this.#listSources();
    by("sources-dialog").showModal();
    await this.#inDialog("sources", async () => {
      const presets = (await get("/api/presets")).presets.map(each => (typeof each === "string" ? { name: each } : each));
      by("sources-preset").replaceChildren(
        ...presets.map(each => h("option", { value: each.name }, each.title ? `${each.name}: ${each.title}` : each.name)),
      );
      show(by("sources-attach"), presets.length);
      say(
        by("sources-note"),
        presets.length
          ? "What is attached feeds the inputs that nobody feeds."
          : "There is nothing that could be attached: the daemon knows no presets.",
      );
    });
  }

  #listSources() {
    const model = this.model(),
      every = Object.entries(model.facts.sources ?? {});
    keep(
      by("sources-list"),
      every,
      ([name]) => name,
      ([name]) => {
        const button = h("button", { type: "button", className: "danger" }, "Detach", h("span", { className: "hush" }, ` ${name}`));
        button.addEventListener("click", () =>
          this.#inDialog("sources", async () => {
            say(by("sources-note"), (await post(`${session(model.name)}/detach`, { sources: [name] })).done);
            await this.refresh();
            this.#listSources();
          }),
        );
        return h("li", { className: "row" }, h("span"), button);
      },
      (item, [name, inputs]) => say(item.firstElementChild, `${name} → ${inputs.join(", ")}`),
    );
  }

  async #attach() {
    say(by("sources-note"), (await post(`${session(this.model().name)}/attach`, { preset: by("sources-preset").value })).done);
    await this.refresh();
    this.#listSources();
  }

  // -- recordings

  async #replay() {
    const { name, at } = this.model();
    const answer = await post(`${recording(name)}/replay`, { start_ns: Math.round(at), speed: 1 });
    await this.refresh();
    if (answer.session) this.open("session", answer.session);
    else this.#tell(answer.done);
  }

  async #purge() {
    const { name } = this.model();
    await this.#sure(
      "Delete this recording?",
      `Everything of “${name}” is deleted from the daemon's disk: picture, sound, text, decisions. Nobody can bring it back.`,
      "Delete it",
      async () => {
        const answer = await remove(recording(name));
        this.open("", "");
        await this.refresh();
        await this.#sure("Deleted", proof(answer), "", () => {});
      },
    );
  }

  /** Asks once more; what is refused is said there. Without a word for yes there is only one way out. */
  #sure(title, text, yes, what) {
    say(by("sure-title"), title);
    say(by("sure-text"), text);
    say(by("sure-problem"), "");
    say(by("sure-go"), yes);
    show(by("sure-go"), yes);
    say(document.querySelector("#sure-dialog .close"), yes ? "Cancel" : "Close");
    by("sure-form").onsubmit = event => {
      event.preventDefault();
      this.#inDialog("sure", async () => {
        const after = what();
        await after;
        if (by("sure-title").textContent === title) by("sure-dialog").close();
      });
    };
    if (!by("sure-dialog").open) by("sure-dialog").showModal();
  }
}

/** What the daemon says is gone, for people to keep. */
function proof({ done, ...values }) {
  const more = Object.entries(values)
    .filter(([, value]) => typeof value !== "object")
    .map(([name, value]) => `${name.replaceAll("_", " ")}: ${value}`);
  return [done, ...more].join(" · ");
}
