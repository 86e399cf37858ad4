// One continuation, from the settings of the page to pieces of text.

import { stream } from "./api.js";
import { points } from "./text.js";

const LONGEST = 2048; // max_tokens that every server takes

// The body of /v1/completions. Every setting is named: one left out would be the model's own.
export function body(model, prompt, settings, seed) {
  const asked = {
    model: model.name,
    prompt,
    max_tokens: Math.min(settings.characters, LONGEST), // a token may be one character
    temperature: settings.temperature,
    top_k: settings.top_k,
    top_p: settings.top_p,
    min_p: settings.min_p,
    repetition_penalty: settings.repetition_penalty,
    n: settings.samples,
    seed,
    stream: true,
    logprobs: 0,
    truncate_prompt: true, // the page greys what is not seen
  };
  const stops = stopsOf(settings.stop);
  if (stops.length) asked.stop = stops;
  return asked;
}

// Stop strings as typed: one after another with | between, \n and \t for the keys one can't type.
export function stopsOf(typed) {
  const meant = { n: "\n", t: "\t", "\\": "\\", "|": "|" };
  return typed.split(/(?<!\\)\|/).map((stop) => stop.replace(/\\([nt\\|])/g, (_, c) => meant[c])).filter(Boolean).slice(0, 4);
}

// The pieces of one event: its tokens where their texts add up to its text, else the text whole.
// owed holds the bits of tokens whose text is still to come (half a character, a held-back stop).
export function pieces(choice, owed) {
  const { tokens = [], token_logprobs: logprobs = [] } = choice.logprobs ?? {};
  const bits = logprobs.map((logprob) => (Number.isFinite(logprob) ? -logprob / Math.LN2 : 0));
  if (!owed.bits && tokens.length && tokens.join("") === choice.text) {
    return tokens.map((text, i) => ({ text, bits: bits[i] }));
  }
  owed.bits += bits.reduce((sum, one) => sum + one, 0);
  if (!choice.text) return [];
  const piece = { text: choice.text, bits: choice.logprobs ? owed.bits : null };
  owed.bits = 0;
  return [piece];
}

// Streams n samples; onPiece(index, piece) for each piece, onEnd(index, reason) as each ends.
// The number of characters is kept here: the same for every tokenizer, to the character.
export async function write({ model, prompt, settings, seed, signal, onPiece, onEnd }) {
  const stop = new AbortController();
  const both = AbortSignal.any([signal, stop.signal]);
  const left = Array(settings.samples).fill(settings.characters);
  const owed = left.map(() => ({ bits: 0 })), ended = new Set();
  const end = (index, reason) => {
    if (ended.has(index)) return;
    ended.add(index);
    onEnd(index, reason);
  };
  try {
    for await (const event of stream("v1/completions", body(model, prompt, settings, seed), both)) {
      for (const choice of event.choices ?? []) {
        for (const piece of pieces(choice, owed[choice.index])) {
          if (ended.has(choice.index)) break;
          const all = points(piece.text), whole = all.length <= left[choice.index];
          const text = whole ? piece.text : all.slice(0, left[choice.index]).join("");
          left[choice.index] -= whole ? all.length : left[choice.index];
          onPiece(choice.index, { text, bits: whole ? piece.bits : null });
          if (left[choice.index] === 0) end(choice.index, "length");
        }
        if (choice.finish_reason) end(choice.index, choice.finish_reason);
      }
      if (ended.size === settings.samples) stop.abort(); // the server frees the slot
    }
  } catch (error) {
    if (!(error.name === "AbortError" && stop.signal.aborted)) throw error;
  }
}
