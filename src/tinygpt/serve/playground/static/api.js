// Talking to the server: the key, errors in one shape, waiting where it is busy, noticing that it
// is gone and that it is back.

import { reader } from "./sse.js";

export class ApiError extends Error {
  constructor(status, body, retryAfter) {
    super(body?.message ?? `The server answered ${status}.`);
    this.status = status;
    this.code = body?.code ?? body?.type ?? "";
    this.param = body?.param ?? null;
    this.retryAfter = retryAfter;
  }

  get busy() { return this.status === 429 || this.status === 503; }

  get memory() { return this.status === 507 || /memory/i.test(`${this.code} ${this.message}`); }
}

export class ServerGone extends Error {
  constructor() { super("The server does not answer."); }
}

export const link = new EventTarget(); // "gone", "back"; "key": call event.detail(text) with it
let key = ""; // in memory only: a reload asks again
let asking = null;
let gone = false;

function askForKey(refused) { // many requests may fail at once: one question
  asking ??= new Promise((answer) => {
    const detail = { refused, answer: (text) => { asking = null; key = text; answer(text !== ""); } };
    link.dispatchEvent(new CustomEvent("key", { detail }));
  });
  return asking;
}

async function failed(response) {
  let body = null;
  try { body = (await response.json()).error; } catch { /* not ours: the status says it */ }
  const after = Number(response.headers.get("Retry-After"));
  return new ApiError(response.status, body, Number.isFinite(after) && after > 0 ? Math.min(after, 60) : 2);
}

async function send(path, options) {
  const headers = { ...options.headers };
  if (key) headers.Authorization = `Bearer ${key}`;
  try {
    return await fetch(path, { ...options, headers, credentials: "omit", cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    lost();
    throw new ServerGone();
  }
}

async function respond(path, options) {
  for (;;) {
    const used = key, response = await send(path, options);
    if (response.ok) return response;
    if (response.status !== 401) throw await failed(response);
    if (used === key && !await askForKey(used !== "")) throw await failed(response);
  }
}

function withBody(body, signal, method) {
  if (body === undefined) return { method: method ?? "GET", signal };
  return { method: "POST", signal, body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
}

export async function get(path, signal) {
  return (await respond(path, withBody(undefined, signal))).json();
}

export async function post(path, body, signal) {
  return (await respond(path, withBody(body, signal))).json();
}

export async function remove(path) {
  return respond(path, withBody(undefined, undefined, "DELETE"));
}

export async function file(path) {
  return (await respond(path, withBody(undefined))).blob();
}

// Yields the events of a stream until [DONE]; a stream that breaks off is a ServerGone.
export async function* stream(path, body, signal) {
  const response = await respond(path, withBody(body, signal));
  const source = response.body.pipeThrough(new TextDecoderStream()).getReader(), events = reader();
  try {
    for (;;) {
      const { done, value } = await source.read();
      if (done) break;
      for (const event of events(value)) {
        if (event === null) return;
        if (event.error) throw new ApiError(event.error.status ?? 500, event.error, 2);
        yield event;
      }
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof ApiError) throw error;
  } finally {
    source.cancel().catch(() => {});
  }
  lost();
  throw new ServerGone();
}

const rest = (ms, signal) => new Promise((done, fail) => {
  const timer = setTimeout(done, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); fail(new DOMException("stopped", "AbortError")); }, { once: true });
});

// Runs a request again while the server is full; waiting(seconds, error) each second until then.
export async function patiently(work, signal, waiting, tries = 8) {
  for (let left = tries; ; left -= 1) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof ApiError && error.busy) || left === 1) throw error;
      for (let seconds = Math.ceil(error.retryAfter); seconds > 0; seconds -= 1) {
        waiting(seconds, error);
        await rest(1000, signal);
      }
      waiting(0, error);
    }
  }
}

function lost() {
  if (gone) return;
  gone = true;
  link.dispatchEvent(new Event("gone"));
  look();
}

async function look() {
  try {
    await fetch("health", { cache: "no-store" });
  } catch {
    setTimeout(look, 1500);
    return;
  }
  gone = false;
  link.dispatchEvent(new Event("back"));
}
