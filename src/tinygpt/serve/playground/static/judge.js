// What a written text costs its own model and the other one, in bits per byte: both over the same
// characters, those written after the prompt.

import { post } from "./api.js";
import { promptOf, textOf } from "./generation.js";
import { model, sides } from "./store.js";
import { bytes, points } from "./text.js";

const LONGEST = 16 * 1024; // bytes; beyond, it would keep the models from writing
const LEAST = 16; // characters; of fewer a figure says nothing

const asked = new Map(); // side -> what runs for it

// Sets take.judged to [[side, bits per byte], ...] or leaves it null. A newer take ends it.
export async function judge(take, side) {
  asked.get(side)?.abort();
  const all = sides(), text = promptOf(take) + textOf(take.samples[0].pieces);
  if (all.length < 2 || bytes(text) > LONGEST || model(side) !== take.model) return;
  const stop = new AbortController();
  asked.set(side, stop);
  try {
    const answer = await post("page/surprise", { models: all.map((one) => model(one).name), text }, stop.signal);
    const begin = points(promptOf(take)).length - points(answer.prefix).length;
    const scored = points(answer.text);
    if (scored.length - Math.max(0, begin) < LEAST) return;
    take.judged = answer.views.map((view, i) => [all[i], perByte(view.cells, scored, Math.max(0, begin))]);
  } catch { /* a figure beside the text: where there is none, nothing is missing */ }
}

function perByte(cells, characters, begin) { // over the cells that begin there or later
  let bits = 0, from = 0, first = characters.length;
  for (const [end, , tokens] of cells) {
    if (from >= begin) {
      first = Math.min(first, from);
      bits += tokens.reduce((sum, token) => sum + token[1], 0);
    }
    from = end;
  }
  return bits / Math.max(1, bytes(characters.slice(first).join("")));
}

export function stopJudging() {
  for (const stop of asked.values()) stop.abort();
}
