// Questions to the daemon's API. The browser's cookie says who asks.

export class Refused extends Error {
  constructor(line, status) {
    super(line);
    this.status = status;
  }
}

export async function ask(method, path, body, type = "application/json") {
  const headers = body === undefined ? {} : { "Content-Type": type };
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: type === "application/json" && body !== undefined ? JSON.stringify(body) : body });
  } catch {
    throw new Refused("The daemon does not answer.", 0);
  }
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    throw new Refused(said.error || `The daemon answers ${answer.status}.`, answer.status);
  }
  return answer;
}

export const get = async path => (await ask("GET", path)).json();
export const post = async (path, body) => (await ask("POST", path, body)).json();
export const remove = async path => (await ask("DELETE", path)).json();

export const session = name => `/api/sessions/${encodeURIComponent(name)}`;
export const recording = name => `/api/recordings/${encodeURIComponent(name)}`;
