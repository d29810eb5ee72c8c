// Looks into a recording: pictures, levels and texts by time, with few questions at a time.

import { ask, get, recording } from "./ask.js";
import { S } from "./format.js";

const PICTURE_MS = 160; // between two questions for one
const WAIT_MS = 2000;
const CHUNK_NS = 30 * S;

export class Shelf {
  /** moments: where levels and texts go. */
  constructor(name, moments) {
    Object.assign(this, { name, moments, path: recording(name), seen: null, asking: false, wanted: null, chunks: new Set(), has: null });
  }

  /** What kinds of stream there are; nothing is asked of those that there are not. */
  async #kinds() {
    this.has ??= get(this.path).then(
      about => new Set(Object.values(about.streams ?? {})),
      () => new Set(),
    );
    return this.has;
  }

  /** The picture at that time is wanted: `seen` is it, some time later. */
  want(ns) {
    this.wanted = Math.max(0, Math.round(ns));
    if (!this.asking) this.#picture();
  }

  async #picture() {
    this.asking = true;
    const has = (await this.#kinds()).has("video");
    while (has && this.wanted !== null) {
      const at = this.wanted;
      this.wanted = null;
      try {
        const answer = await ask("GET", `${this.path}/picture?at_ns=${at}`);
        const bitmap = answer.status === 204 ? null : await createImageBitmap(await answer.blob());
        this.#take(bitmap && { bitmap, at_ns: Number(answer.headers.get("x-at-ns") ?? at), name: this.name });
      } catch (refused) {
        if (refused.status === 429) {
          this.wanted ??= at; // too many questions: this one again, later
          await new Promise(done => setTimeout(done, WAIT_MS));
        } else this.#take(null); // damaged, or the daemon does not answer, which others say
      }
      await new Promise(done => setTimeout(done, PICTURE_MS));
    }
    this.asking = false;
  }

  #take(seen) {
    this.seen?.bitmap.close();
    this.seen = seen;
  }

  /** Levels of the span, in whole chunks, each asked for once. */
  async levels(from, to) {
    if (!(await this.#kinds()).has("audio")) return;
    for (let chunk = Math.max(0, Math.floor(from / CHUNK_NS)); chunk * CHUNK_NS <= to; chunk++) {
      if (this.chunks.has(chunk)) continue;
      this.chunks.add(chunk);
      try {
        const said = await get(`${this.path}/level?from_ns=${chunk * CHUNK_NS}&to_ns=${(chunk + 1) * CHUNK_NS}`);
        const [, source, stream] = /^([^.]*)\.(.*)$/.exec(said.stream) ?? [null, "", said.stream];
        for (const each of said.levels) this.moments.level({ source, stream, ...each });
      } catch {
        this.chunks.delete(chunk); // another time
        return;
      }
    }
  }

  async texts() {
    if (!(await this.#kinds()).has("text")) return;
    const said = await get(`${this.path}/text`).catch(() => ({ texts: [] }));
    for (const each of said.texts) this.moments.text({ stream: said.stream, ...each });
  }

  close() {
    this.wanted = null;
    this.#take(null);
  }
}
