// Looks into a recording: pictures, levels and texts by time, with few questions at a time.

import { ask, get, recording } from "./ask.js";
import { S } from "./format.js";

const PICTURE_MS = 160; // between two questions for one
const CHUNK_NS = 30 * S;

export class Shelf {
  /** moments: where levels and texts go. */
  constructor(name, moments) {
    Object.assign(this, { name, moments, path: recording(name), seen: null, asking: false, wanted: null, chunks: new Set(), none: {}, asked: 0 });
  }

  /** The picture at that time is wanted: `seen` is it, some time later. */
  want(ns) {
    this.wanted = Math.max(0, Math.round(ns));
    if (!this.asking) this.#picture();
  }

  async #picture() {
    if (this.none.video) return;
    this.asking = true;
    while (this.wanted !== null) {
      const at = this.wanted;
      this.wanted = null;
      try {
        const answer = await ask("GET", `${this.path}/picture?at_ns=${at}`);
        const bitmap = await createImageBitmap(await answer.blob());
        this.seen?.bitmap.close();
        this.seen = { bitmap, at_ns: Number(answer.headers.get("x-at-ns") ?? at), name: this.name };
      } catch (refused) {
        if (refused.status === 404) {
          this.seen?.bitmap.close();
          this.seen = null;
          this.none.video = refused.message.startsWith("no video");
        }
      }
      await new Promise(done => setTimeout(done, PICTURE_MS));
    }
    this.asking = false;
  }

  /** Levels of the span, in whole chunks, each asked for once. */
  async levels(from, to) {
    for (let chunk = Math.max(0, Math.floor(from / CHUNK_NS)); chunk * CHUNK_NS <= to && !this.none.audio; chunk++) {
      if (this.chunks.has(chunk)) continue;
      this.chunks.add(chunk);
      try {
        const said = await get(`${this.path}/level?from_ns=${chunk * CHUNK_NS}&to_ns=${(chunk + 1) * CHUNK_NS}`);
        const [, source, stream] = /^([^.]*)\.(.*)$/.exec(said.stream) ?? [null, "", said.stream];
        for (const each of said.levels) this.moments.level({ source, stream, ...each });
      } catch (refused) {
        if (refused.status === 404) this.none.audio = true;
        else this.chunks.delete(chunk);
        return;
      }
    }
  }

  async texts() {
    const said = await get(`${this.path}/text`).catch(() => ({ texts: [] }));
    for (const each of said.texts) this.moments.text({ stream: said.stream, ...each });
  }

  close() {
    this.wanted = null;
    this.seen?.bitmap.close();
    this.seen = null;
  }
}
