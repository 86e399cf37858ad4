// The prompt as both tokenizers cut it, one above the other.

import { post } from "./api.js";
import { calm, chip, find, make, say } from "./dom.js";
import { lines, stave } from "./staves.js";
import { change, model, on, sides, state } from "./store.js";
import { bytes, count, glyph, plural, points, spaced } from "./text.js";

const cuts = new Map(); // model and text -> answer of /page/tokens
const MOST_CUTS = 24;
const LONGEST = 16_000; // characters that are drawn
let asked = null, drawn = 0, lit = [];

const named = (name, text) => JSON.stringify([name, text]);

// What is known of a prompt under a model; null while it is not.
export const cutOf = (name, text) => cuts.get(named(name, text)) ?? null;

export async function cut(name, text, signal) {
  const found = cutOf(name, text);
  if (found) return found;
  const answer = await post("page/tokens", { model: name, text }, signal);
  if (cuts.size >= MOST_CUTS) cuts.delete(cuts.keys().next().value);
  cuts.set(named(name, text), answer);
  return answer;
}

// The characters of a cut prompt that its model lacks, a dozen by name; empty if there are none.
export function lacked(found) {
  const all = [...new Set((found?.unknown ?? []).flatMap((one) => points(one.character)))].map(glyph);
  return all.slice(0, 12).join(" ") + (all.length > 12 ? ` and ${count(all.length - 12)} more` : "");
}

async function refresh() {
  asked?.abort();
  asked = new AbortController();
  const { signal } = asked, text = state.prompt ?? "";
  if (!text) return show();
  const all = await Promise.allSettled(sides().map((side) => cut(model(side).name, text, signal)));
  if (signal.aborted) return undefined;
  show(all.find((one) => one.status === "rejected" && one.reason.name !== "AbortError")?.reason);
  return undefined;
}

function show(problem = null) {
  const text = state.prompt ?? "", box = find("ribbons");
  const known = sides().map((side) => [side, cutOf(model(side).name, text)]).filter(([, found]) => found);
  find("ribbon-counts").replaceChildren(...known.map(([side, found]) => told(side, found, text)));
  find("ribbon-notes").replaceChildren(...known.flatMap(([side, found]) => notes(side, found)), ...(problem ? [make("p.note.bad", {}, problem.message)] : []));
  box.parentElement.hidden = !known.length && !problem;
  const characters = points(text).slice(0, LONGEST), width = room(box);
  drawn = box.clientWidth;
  box.replaceChildren(...(known.length ? lines(characters, width) : []).map((line) => make(
    "div.staff", {}, known.map(([side, found]) => row(side, found, characters, line)),
  )));
}

function room(box) { // columns of the line, as the font has them
  const ruler = make("span.tokens", {}, "0".repeat(50));
  box.replaceChildren(ruler);
  const one = ruler.getBoundingClientRect().width / 50 || 8;
  return Math.max(16, Math.min(120, Math.floor(box.clientWidth / one) - 4));
}

function told(side, found, text) {
  const each = found.n_tokens ? (found.n_bytes / found.n_tokens).toFixed(2) : "–";
  const heard = found.tokens.slice(0, 12).map((token) => spaced(token.text)).join(", ");
  return make("li", {}, chip(side), " ", make("b", {}, plural(found.n_tokens, "token")), ` for ${plural(bytes(text), "byte")}: `,
    make("b", {}, each), " bytes each", make("span.unseen", {}, `. It begins ${heard}`));
}

function notes(side, found) {
  const { n_positions: window } = model(side), list = [];
  if (found.context?.kept_from > 0) {
    list.push(make("p.note", {}, chip(side), ` sees only the last ${plural(window, "token")}: the grey part of its row is beyond its context.`));
  }
  if (found.unknown?.length) {
    list.push(make("p.note.bad", {}, chip(side), " ", make("b", {}, lacked(found)), ` ${found.unknown[0].reason}. `,
      make("button.small", { type: "button", onclick: () => strip(found.unknown) }, "Take out of the prompt")));
  }
  return list;
}

function strip(unknown) { // only because the user asked for it
  const text = points(state.prompt).filter((_, i) => !unknown.some((one) => one.start <= i && i < one.end)).join("");
  find("prompt").value = text;
  change({ prompt: text });
  find("prompt").focus();
  say("Taken out");
}

function row(side, found, characters, line) {
  const unseen = found.context?.kept_from ?? 0;
  const line_ = make(`div.tokens.${side}`, { "aria-hidden": "true" }, chip(side));
  for (const piece of stave(characters, found.tokens, line)) {
    const shown = characters.slice(piece.from, piece.to).map(glyph).join("");
    const token = found.tokens[piece.token];
    const span = make("span.token", {
      title: token ? `${spaced(token.text)}  token ${count(piece.token + 1)}, id ${count(token.id)}${piece.more ? `, and ${count(piece.more)} more in this character` : ""}` : "not in the vocabulary",
      "data-from": piece.from, "data-to": piece.to,
    }, shown);
    span.style.setProperty("--n", piece.width);
    span.classList.toggle("odd", piece.token !== null && piece.token % 2 === 1);
    span.classList.toggle("unknown", piece.token === null);
    span.classList.toggle("beyond", piece.to <= unseen);
    span.classList.toggle("opens", piece.opens);
    span.classList.toggle("closes", piece.closes);
    line_.append(span);
  }
  return line_;
}

function light(event) { // the same characters in both rows
  const token = event.target.closest?.(".token");
  for (const one of lit) one.classList.remove("lit");
  lit = [];
  if (!token) return;
  const [from, to] = [Number(token.dataset.from), Number(token.dataset.to)];
  lit = [...token.closest(".staff").querySelectorAll(".token")].filter((one) => Number(one.dataset.from) < to && Number(one.dataset.to) > from);
  for (const one of lit) one.classList.add("lit");
}

export function mount() {
  const soon = calm(refresh, 80), box = find("ribbons");
  on(["prompt"], soon);
  on(["a", "b", "models"], refresh);
  box.addEventListener("pointerover", light);
  box.addEventListener("pointerleave", light);
  new ResizeObserver(calm(() => {
    if (!box.parentElement.hidden && box.clientWidth !== drawn) show();
  }, 120)).observe(box.parentElement);
}
