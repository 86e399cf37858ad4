// Both models to scale, with what every component holds and costs; a slider over n_embd.

import { get } from "./api.js";
import { calm, chip, draw, find, make, refill, say } from "./dom.js";
import { failed, loading } from "./panel.js";
import { model, sides, state } from "./store.js";
import { count, plural, short, size } from "./text.js";

const WIDEST = 1536;
const answers = new Map(); // path -> answer; the slider goes back and forth
const wanted = {}; // side -> n_embd
let shapes = [], svg = null, drawn = "", asked = null, width = 0;

// The models of these sides at the widths wanted, and their picture; an earlier question is given up.
async function ask(who) {
  asked?.abort();
  asked = new AbortController();
  const room = Math.min(4000, Math.max(300, 20 * Math.floor((find("scale").clientWidth - 34) / 20))); // without the figure's padding
  if (room !== width) answers.clear();
  width = room;
  const models = who.flatMap((side) => [["models", model(side).name], ["n_embd", wanted[side]]]);
  const path = `page/scale?${new URLSearchParams([...models, ["width", width]])}`;
  if (!answers.has(path)) answers.set(path, await get(path, asked.signal));
  svg = answers.get(path).picture;
  shapes = answers.get(path).models.map((one, i) => ({ ...one, side: who[i], own: model(who[i]).n_embd }));
}

async function again() {
  if (!drawn) return;
  await ask(shapes.map((shape) => shape.side));
  picture();
}

export async function show() {
  const who = sides(), names = JSON.stringify(who.map((side) => model(side).name));
  if (!who.length || drawn === names) return;
  loading(find("scale"), "Counting the weights …", () => asked.abort());
  try {
    for (const side of who) wanted[side] = model(side).n_embd;
    await ask(who);
    drawn = names;
    frame();
    picture();
  } catch (error) {
    failed(find("scale"), error, show);
  }
}

function frame() { // what stays while the slider moves
  const sliders = shapes.filter((shape) => shape.n_embd_step).map(slider);
  find("scale").replaceChildren(
    make("p.lede", {}, shapes.length > 1 ? "Both are made of the same pieces. " : "", "Equal areas are equal numbers of parameters: each block is a column as wide as the model, the token embedding is wrapped into columns of the same height."),
    make("div.sliders", {}, sliders),
    make("figure.wide", {}, make("div", { id: "scale-picture" }), make("figcaption.key", {}, ["embedding", "attention", "mlp"].map((what) => make("span", {}, make(`i.${what}`), { embedding: "embeddings", attention: "attention", mlp: "MLP" }[what])))),
    make("div.scroll", { role: "region", "aria-label": "Components", tabindex: 0, id: "scale-table" }),
  );
}

function slider(shape) {
  const step = shape.n_embd_step, output = make("output", { for: `width-${shape.side}` }, count(shape.n_embd));
  const input = make("input", { type: "range", id: `width-${shape.side}`, min: step * Math.max(1, Math.ceil(16 / step)), max: Math.floor(WIDEST / step) * step, step });
  input.value = shape.n_embd;
  const reset = make("button.small", { type: "button", disabled: true, onclick: () => { input.value = shape.own; input.dispatchEvent(new Event("input")); } }, "As it is");
  const refresh = calm(async () => {
    try {
      await again();
      say(`${count(shapes.find((one) => one.side === shape.side).n_params)} parameters`);
    } catch (error) {
      if (error.name !== "AbortError") refill(output, error.message);
    }
  }, 40);
  input.addEventListener("input", () => {
    const width = Number(input.value);
    output.textContent = count(width);
    reset.disabled = width === shape.own;
    wanted[shape.side] = width;
    refresh();
  });
  return make(`p.setting.${shape.side}`, {}, make("label", { for: input.id }, chip(shape.side), " n_embd, its width"), make("span.slider", {}, input, output, reset));
}

// [name, attributes, ...children] as the server draws it, made of elements.
const built = ([name, attributes, ...children]) => draw(name, attributes, children.map((one) => (typeof one === "string" ? one : built(one))));

function picture() {
  find("scale-picture").replaceChildren(built(svg));
  find("scale-table").replaceChildren(table());
}

function table() {
  const keys = new Map(shapes.flatMap((shape) => shape.components.map((one) => [one.key, one.label])));
  const cells = (shape, one) => {
    if (!one) return [make("td", {}, "–"), make("td", {}, "–")];
    const share = one.n_params / shape.n_params, tied = one.key === "lm_head" && !one.n_params;
    const text = one.key === "attention_scores" ? "no weights" : tied ? "tied to the embedding" : `${count(one.n_params)} (${(100 * share).toFixed(1)}%)`;
    return [make("td", {}, text), make("td", {}, one.flops_per_token === null ? "–" : short(one.flops_per_token))];
  };
  const sum = (name, value) => make("tr", {}, make("th", { scope: "row" }, name), shapes.map((shape) => make("td", { colspan: 2 }, value(shape))));
  const known = (value, write) => (value === null || value === undefined ? "–" : write(value));
  return make("table.scale", {},
    make("thead", {}, make("tr", {}, make("td"), shapes.map((shape) => make("th", { scope: "colgroup", colspan: 2 }, chip(shape.side), " ", shape.name, shape.n_embd === shape.own ? "" : make("em", {}, `, were it ${count(shape.n_embd)} wide`)))),
      make("tr", {}, make("th", { scope: "col" }, "component"), shapes.map(() => [make("th", { scope: "col" }, "parameters"), make("th", { scope: "col" }, "FLOPs per token")]))),
    make("tbody", {}, [...keys].map(([key, label]) => make("tr", {}, make("th", { scope: "row" }, label), shapes.map((shape) => cells(shape, shape.components.find((one) => one.key === key)))))),
    make("tbody.sums", {},
      sum("all parameters", (shape) => make("b", {}, count(shape.n_params))),
      sum("weights", (shape) => size(shape.weights_bytes)),
      sum("FLOPs per token", (shape) => known(shape.flops_per_token, short)),
      sum("FLOPs per byte", (shape) => known(shape.flops_per_byte, short)),
      sum("bytes per token", (shape) => known(shape.bytes_per_token, (n) => n.toFixed(2))),
      sum("KV cache, full context", (shape) => known(shape.kv_cache_bytes, size)),
      sum("memory to train it", (shape) => known(shape.training_memory_bytes, size)),
      sum("context", (shape) => plural(shape.n_positions, "token"))));
}

export function mount() {
  new ResizeObserver(calm(() => { if (state.tab === "scale") again().catch((error) => { if (error.name !== "AbortError") failed(find("scale"), error, show); }); }, 100)).observe(find("panel-scale"));
}

export const forget = () => { drawn = ""; if (state.tab === "scale") show(); };
