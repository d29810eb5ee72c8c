// A WebSocket that is there for good: it is opened again when it breaks or falls silent, and says how it is.

const FIRST_MS = 400,
  MOST_MS = 8000,
  SILENT_MS = 6000,
  LOOK_MS = 1000;
const NOT_FOUND = 4404;

export class Line {
  /**
   * address: called for each attempt, so that it can say where to go on. message(object), picture(header, jpeg), change().
   * state: "connecting", "open", "broken", "ended" (there is nothing more to come; why: a line).
   */
  constructor(address, { message, picture = () => {}, change = () => {} }) {
    Object.assign(this, { address, message, picture, change, state: "connecting", why: "", tries: 0, heard: performance.now(), retry: 0 });
    this.timer = setInterval(() => this.#look(), LOOK_MS);
    this.again = () => this.state === "broken" && this.#open();
    addEventListener("online", this.again);
    this.#open();
  }

  /** Milliseconds since something came. */
  get silence() {
    return performance.now() - this.heard;
  }

  /** Nothing more will come, and that is well. */
  end(why = "") {
    this.#set("ended", why);
    this.#drop();
    clearInterval(this.timer);
    clearTimeout(this.retry);
    removeEventListener("online", this.again);
  }

  #open() {
    this.#drop();
    clearTimeout(this.retry);
    const socket = (this.socket = new WebSocket(new URL(this.address(), location.href.replace(/^http/, "ws"))));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.tries = 0;
      this.heard = performance.now();
      this.#set("open");
    };
    socket.onmessage = event => {
      this.heard = performance.now();
      if (typeof event.data === "string") this.message(JSON.parse(event.data));
      else this.picture(...unframed(event.data));
    };
    socket.onclose = event => {
      if (socket !== this.socket) return;
      if (event.code === NOT_FOUND) this.end(event.reason || "it is not there");
      else this.#break();
    };
  }

  #break() {
    this.#drop();
    this.#set("broken");
    const pause = Math.min(MOST_MS, FIRST_MS * 2 ** this.tries++);
    this.retry = setTimeout(() => this.#open(), pause * (0.8 + 0.4 * Math.random()));
  }

  #look() {
    if (this.state === "open" && this.silence > SILENT_MS) this.#break(); // a network that is gone says nothing
    this.change();
  }

  #drop() {
    const socket = this.socket;
    this.socket = null;
    if (socket) Object.assign(socket, { onopen: null, onmessage: null, onclose: null }).close();
  }

  #set(state, why = "") {
    if (this.state === "ended") return;
    Object.assign(this, { state, why });
    this.change();
  }
}

/** 4 bytes big-endian length of a header in JSON, the header, the picture. */
export function unframed(buffer) {
  const length = new DataView(buffer).getUint32(0);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return [header, new Blob([new Uint8Array(buffer, 4 + length)], { type: "image/jpeg" })];
}
