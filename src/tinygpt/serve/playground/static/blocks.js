// The weights of each model drawn to one scale: the same area is the same number of parameters.
// Every block is a column as wide as the model; the embedding is wrapped into such columns.

import { draw } from "./dom.js";
import { count, short } from "./text.js";

const GAP = 2, APART = 28, FOOT = 50;

const part = (shape, keys) => shape.components.filter((one) => keys.includes(one.key)).reduce((sum, one) => sum + one.n_params, 0);

function measure(shape) { // heights in weights, of one column n_embd wide
  const each = shape.n_layer * shape.n_embd;
  const attention = part(shape, ["attention"]) / each, mlp = part(shape, ["mlp", "other"]) / each;
  return { attention, mlp, columns: part(shape, ["wte", "wpe", "lm_head"]) / shape.n_embd / (attention + mlp) };
}

// shapes: [{side, n_layer, n_embd, n_params, components}]
export function blocks(shapes, width, tallest) {
  const sized = shapes.map((shape) => ({ shape, ...measure(shape) }));
  const across = (one) => Math.ceil(one.columns) + one.shape.n_layer;
  const gaps = sized.reduce((sum, one) => sum + GAP * across(one), 0) + APART * (sized.length - 1) + 8 + 60 * sized.length;
  const unit = Math.min(tallest / Math.max(...sized.map((one) => one.attention + one.mlp)), (width - gaps) / sized.reduce((sum, one) => sum + across(one) * one.shape.n_embd, 0));
  const floor = Math.max(...sized.map((one) => one.attention + one.mlp)) * unit + 8;
  const parts = [];
  let x = 4;
  for (const one of sized) {
    const drawn = stand(one, x, floor, unit);
    parts.push(drawn.group);
    x += Math.max(drawn.wide, 128) + APART;
  }
  const told = shapes.map((shape) => `${shape.side.toUpperCase()}: ${shape.n_layer} blocks, ${count(shape.n_embd)} wide, ${short(shape.n_params)} parameters`).join("; ");
  return draw("svg.blocks", { viewBox: `0 0 ${width} ${floor + FOOT}`, width, height: floor + FOOT, role: "img", "aria-label": `The weights to one scale, equal areas are equal numbers. ${told}.` }, parts);
}

function stand({ shape, attention, mlp, columns }, begin, floor, unit) {
  const width = shape.n_embd * unit, high = attention * unit, low = mlp * unit, rects = [];
  const box = (x, y, height, what) => rects.push(draw(`rect.${what}`, { x, y, width: Math.max(width, 0.75), height: Math.max(height, 0.75) }, draw("title", {}, what)));
  let x = begin;
  for (let left = columns; left > 1e-9; left -= 1) {
    const height = Math.min(left, 1) * (high + low);
    box(x, floor - height, height, "embedding");
    x += width + GAP;
  }
  for (let i = 0; i < shape.n_layer; i += 1) {
    box(x, floor - high - low, low, "mlp");
    box(x, floor - high, high, "attention");
    x += width + GAP;
  }
  const words = [
    draw("rect.chip-box", { x: begin, y: floor + 9, width: 18, height: 18, rx: 4 }), draw("text.letter", { x: begin + 9, y: floor + 22, "text-anchor": "middle" }, shape.side.toUpperCase()),
    draw("text.label", { x: begin + 24, y: floor + 23 }, short(shape.n_params)),
    draw("text.note", { x: begin, y: floor + 44 }, `${shape.n_layer} blocks, ${count(shape.n_embd)} wide`),
  ];
  return { group: draw(`g.${shape.side}`, {}, rects, words), wide: x - begin };
}
