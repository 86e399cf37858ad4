// A take: what one model wrote for one prompt, and how its writing stands. No DOM here.

import { ApiError, patiently, ServerGone } from "./api.js";
import { bytes, points } from "./text.js";
import { write } from "./writing.js";

export const WAITING = "waiting", BUSY = "busy", WRITING = "writing", DONE = "done", STOPPED = "stopped", FAILED = "failed";

// given: pieces {text, kind} with kind prompt | kept | chosen; samples get {text, bits, kind: "new"}.
export function newTake(model, given, settings, seed) {
  return {
    model, given, settings, seed, state: WAITING, error: null, busy: null, startedAt: 0, firstAt: 0, endedAt: 0, judged: null,
    samples: Array.from({ length: settings.samples }, () => ({ pieces: [], reason: null })),
    stop: new AbortController(),
  };
}

export const textOf = (pieces) => pieces.map((piece) => piece.text).join("");
export const promptOf = (take) => textOf(take.given);
export const running = (take) => take !== null && [WAITING, BUSY, WRITING].includes(take.state);

// Runs it to its end; changed(index, piece) after every change, with a piece where one came.
export async function run(take, changed) {
  take.startedAt = performance.now();
  const work = () => write({
    model: take.model,
    prompt: promptOf(take),
    settings: take.settings,
    seed: take.seed,
    signal: take.stop.signal,
    onPiece: (index, piece) => {
      if (!take.firstAt) {
        take.firstAt = performance.now();
        take.state = WRITING;
      }
      const whole = { ...piece, kind: "new" };
      take.samples[index].pieces.push(whole);
      changed(index, whole);
    },
    onEnd: (index, reason) => {
      take.samples[index].reason = reason;
      changed(index);
    },
  });
  try {
    await patiently(work, take.stop.signal, (seconds, error) => {
      take.state = seconds ? BUSY : WAITING;
      take.busy = { seconds, message: error.message };
      changed();
    });
    take.state = DONE;
  } catch (error) {
    take.state = error.name === "AbortError" ? STOPPED : FAILED;
    take.error = take.state === FAILED ? explained(error) : null;
  }
  take.endedAt = performance.now();
  for (const sample of take.samples) sample.reason ??= take.state;
  changed();
}

// {title, message, more, refused}: what happened, the server's own line, what to do; whether asking was wrong.
export function explained(error) {
  const message = error.message;
  if (error instanceof ServerGone) {
    return { title: "The server stopped answering", message: "What was written so far is kept.", more: "This page looks for it again by itself." };
  }
  if (!(error instanceof ApiError)) return { title: "Something in this page went wrong", message, more: "" };
  if (error.memory) return { title: "Out of memory", message, more: "Fewer samples, fewer characters or a shorter prompt need less." };
  if (error.busy) return { title: "The server is full", message, more: "It was asked several times." };
  if (error.status === 401) return { title: "A key is needed", message, more: "" };
  return { title: "The model can't do this", message, more: "", refused: true };
}

export function facts(take) { // sums over all samples
  const texts = take.samples.map((sample) => textOf(sample.pieces));
  const all = texts.join(""), seconds = ((take.endedAt || performance.now()) - take.firstAt) / 1000;
  const scored = take.samples.flatMap((sample) => sample.pieces).filter((piece) => piece.bits !== null);
  const bits = scored.reduce((sum, piece) => sum + piece.bits, 0), n = bytes(textOf(scored));
  return {
    characters: points(all).length,
    bytes: bytes(all),
    seconds: take.firstAt ? Math.max(seconds, 0.001) : 0,
    first: take.firstAt ? (take.firstAt - take.startedAt) / 1000 : null,
    bitsPerByte: n ? bits / n : null,
  };
}

// Everything up to a piece of a sample, as the given part of a branch.
export function before(take, index, n) {
  const kept = take.samples[index]?.pieces ?? [], given = take.given;
  if (n <= given.length) return given.slice(0, n);
  return [...given, ...kept.slice(0, n - given.length).map((piece) => ({ ...piece, kind: "kept" }))];
}

export const piecesOf = (take, index) => [...take.given, ...take.samples[index].pieces];

export function reasonWords(reason) {
  return {
    length: "at the length asked", stop: "at its own end or a stop string", timeout: "because its time was up", cancelled: "because it was stopped",
    [STOPPED]: "because it was stopped", [FAILED]: "because it broke off", error: "because of an error", [DONE]: "at its end",
  }[reason] ?? reason;
}
