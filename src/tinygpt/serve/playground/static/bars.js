// What a model expects next at one place of a text, as bars; a bar is a way to go on.

import { post } from "./api.js";
import { calm, chip, make, refill, rove, say } from "./dom.js";
import { on, settings } from "./store.js";
import { percent, readable, spaced, tail } from "./text.js";

const MOST = 10, ASKED = 40; // shown; looked through for the token that was written

// Opens in `place`; written is the text of the token that stands there now, or null at the end.
// choose(text) branches with a token, goOn() without one.
export function open(place, { side, model, text, written, choose, goOn, close }) {
  let asked = null, alive = true, wanted = false; // wanted: the focus, once there is a bar
  const list = make("ol", { "aria-label": "Likeliest next tokens" }), doubt = make("p.doubt");
  const box = make("section.bars", { "aria-label": "What could come next", tabindex: -1 },
    make("header", {}, make("h3", {}, chip(side), " next after ", make("q", {}, tail(readable(text).replaceAll("\n", "⏎"), 22) || "nothing")),
      make("button.icon", { type: "button", "aria-label": "Close", onclick: () => close() }, "×")),
    list, doubt,
    make("p.go", {}, make("button.small", { type: "button", onclick: goOn }, "Write on from here")));
  rove(list, "button", { vertical: true });
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    close();
  });

  async function refresh() {
    asked?.abort();
    asked = new AbortController();
    const { temperature, top_k, top_p, min_p, repetition_penalty } = settings(side);
    const body = { model: model.name, text, k: ASKED, temperature, top_k, top_p, min_p, repetition_penalty };
    try {
      show(await post("page/next", body, asked.signal));
    } catch (error) {
      if (error.name === "AbortError" || !alive) return;
      list.replaceChildren();
      refill(doubt, error.message);
    }
  }

  function show(answer) {
    const focused = wanted || list.contains(document.activeElement);
    wanted = false;
    const shown = answer.tokens.slice(0, MOST), there = answer.tokens.find((token) => token.text === written);
    if (there && !shown.includes(there)) shown.splice(-1, 1, there);
    const others = 1 - shown.reduce((sum, token) => sum + token.probability, 0);
    const top = Math.max(0.01, ...shown.map((token) => Math.max(token.probability, token.probability_after_sampling ?? 0)));
    list.replaceChildren(...shown.map((token, i) => bar(token, i, top)));
    doubt.textContent = `${answer.entropy_bits.toFixed(1)} bits of doubt, like ${Math.max(1, Math.round(2 ** answer.entropy_bits)).toLocaleString("en")} equal choices; all other tokens together ${percent(Math.max(0, others))}. The outline is the model itself, the filled bar what your settings make of it. Choose one to branch.`;
    if (focused) list.querySelector("button")?.focus();
    else say(`Likeliest: ${answer.tokens.slice(0, 3).map((token) => `${spaced(token.text)} ${percent(token.probability)}`).join(", ")}`);
  }

  function bar(token, i, top) {
    const after = token.probability_after_sampling ?? token.probability, here = token.text === written;
    const raw = make("span.raw"), drawn = make("span.drawn");
    raw.style.width = `${100 * token.probability / top}%`;
    drawn.style.width = `${100 * after / top}%`;
    const words = `${spaced(token.text)}: ${percent(token.probability)}, with your settings ${after ? percent(after) : "never"}${here ? "; this is what was written" : ""}. Branch here`;
    return make("li", {}, make("button", { type: "button", tabindex: i ? -1 : 0, "aria-label": words, "aria-current": here ? "true" : null, disabled: !token.whole, onclick: () => choose(token.text) },
      make("code", {}, spaced(token.text) || "end"), make("span.track", {}, raw, drawn),
      make("span.share", {}, after ? percent(after) : "–")));
  }

  place.replaceChildren(box);
  refresh();
  const soon = calm(() => alive && refresh(), 60);
  const off = on(["settings", "locked"], soon);
  return {
    focus: () => {
      wanted = !list.firstChild;
      (list.querySelector("button") ?? box).focus();
    },
    shut: () => { alive = false; off(); asked?.abort(); place.replaceChildren(); },
  };
}
