// This page's camera, microphone and typed text, sent to a session's source (WebRTC). It goes on whatever the page shows.

import { ask, session as path } from "./ask.js";

const PLAIN = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
const VIDEO = { width: 640, height: 480, frameRate: 30 };
const SAID_MS = 10_000,
  AGAIN_MS = 3000,
  TRIES = 20;
const STATES = {
  new: "Connecting",
  connecting: "Connecting",
  connected: "Sending",
  disconnected: "The connection is interrupted",
  failed: "The connection broke",
};

export class Sender {
  /** changed(): `session` (empty: nothing is sent), `state` (a line) or `canType` is another. */
  constructor(changed) {
    Object.assign(this, { changed, session: "", state: "", peer: null, media: null, channel: null });
    addEventListener("pagehide", () => this.stop());
  }

  get canType() {
    return this.channel?.readyState === "open";
  }

  /** Raises Refused, or what the browser says. */
  async start(session, source) {
    this.stop();
    if (!navigator.mediaDevices?.getUserMedia)
      throw new Error("This browser gives its camera only to pages on this machine (127.0.0.1) or over https.");
    Object.assign(this, { session, state: "Waiting for camera and microphone" });
    this.changed();
    try {
      await this.#connect(session, source);
    } catch (error) {
      this.stop();
      throw error.name === "NotAllowedError" ? new Error("The browser was told not to give its camera and microphone.") : error;
    }
  }

  async #connect(session, source) {
    const media = await navigator.mediaDevices.getUserMedia({ video: VIDEO, audio: PLAIN });
    if (this.session !== session) return media.getTracks().forEach(track => track.stop()); // stopped while the browser asked
    Object.assign(this, { media, source });
    await this.#offer(session);
  }

  async #offer(session) {
    this.peer?.close();
    const peer = (this.peer = new RTCPeerConnection());
    this.media.getTracks().forEach(track => peer.addTrack(track, this.media));
    this.channel = peer.createDataChannel("text");
    this.channel.onopen = this.channel.onclose = () => this.changed();
    peer.onconnectionstatechange = () => peer === this.peer && this.#heed(peer);
    await peer.setLocalDescription(await peer.createOffer());
    if (peer.iceGatheringState !== "complete") {
      await new Promise(done => {
        peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && done();
      });
    }
    const where = `${path(session)}/offer${this.source ? `?source=${encodeURIComponent(this.source)}` : ""}`;
    const answer = await ask("POST", where, peer.localDescription.sdp, "application/sdp");
    if (peer === this.peer) await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  }

  #heed(peer) {
    this.state = STATES[peer.connectionState] ?? peer.connectionState;
    this.changed();
    if (peer.connectionState === "disconnected" || peer.connectionState === "failed") this.#again();
  }

  /** The other end went away, perhaps to come back: it was allowed once, so it is offered again, for a while. */
  async #again() {
    if (this.trying) return;
    this.trying = true;
    for (let left = TRIES; left && this.session; left--) {
      await new Promise(done => setTimeout(done, AGAIN_MS));
      if (!this.session || this.peer?.connectionState === "connected") break;
      this.state = "The connection broke, trying again";
      this.changed();
      await this.#offer(this.session).catch(() => {}); // nobody takes it yet
      if (left === 1 && this.peer?.connectionState !== "connected") this.stop("The connection broke: nothing is sent any more.");
    }
    this.trying = false;
  }

  /** These sessions run. What is sent to one that has ended goes to nobody: camera and microphone are let go. */
  only(sessions) {
    if (this.session && !sessions.includes(this.session)) this.stop(`“${this.session}” has ended: nothing is sent any more.`);
  }

  type(text) {
    this.channel.send(text);
  }

  stop(state = "") {
    this.media?.getTracks().forEach(track => track.stop()); // the camera's light goes out
    this.peer?.close();
    Object.assign(this, { session: "", state, peer: null, media: null, channel: null });
    clearTimeout(this.said);
    this.said = setTimeout(() => {
      if (!this.session) {
        this.state = "";
        this.changed();
      }
    }, SAID_MS);
    this.changed();
  }
}
