// The controls of sampling: for both columns at once, or for each by itself.

import { bounded, DEFAULTS, seedOf } from "./address.js";
import { chip, find, make } from "./dom.js";
import { change, changeSetting, on, settings, sides, state } from "./store.js";

const ROWS = [
  { name: "temperature", label: "Temperature", told: "0 takes the likeliest token each time; 1 draws as the model says", low: 0, high: 2, step: 0.05 },
  { name: "top_k", label: "Top k", told: "draw among the k likeliest; 0 keeps all", low: 0, high: 200, step: 1, zero: "all" },
  { name: "top_p", label: "Top p", told: "draw among the likeliest that make up this share; 1 keeps all", low: 0.05, high: 1, step: 0.05 },
  { name: "min_p", label: "Min p", told: "drop what is less than this share as likely as the likeliest", low: 0, high: 0.5, step: 0.01, zero: "off" },
  { name: "repetition_penalty", label: "Repetition penalty", told: "above 1 makes what was said less likely", low: 1, high: 2, step: 0.05 },
  { name: "characters", label: "Characters", told: "how much each model writes, at most", low: 20, high: 2000, step: 20 },
  { name: "samples", label: "Samples", told: "how many from the same prompt", low: 1, high: 4, step: 1 },
];

const written = (row, value) => (value === 0 && row.zero ? row.zero : String(Number(value.toFixed(2))));

function slider(row, side, shared) {
  const one = settings(side), id = `set-${row.name}-${side}`;
  const output = make("output", { for: id }, written(row, one[row.name]));
  const input = make("input", {
    type: "range", id, min: row.low, max: row.high, step: row.step, "aria-describedby": `told-${row.name}`,
    "aria-label": shared ? null : `${row.label}, ${side.toUpperCase()}`, "aria-valuetext": written(row, one[row.name]),
  });
  input.value = one[row.name]; // after min and max, which would bend it
  input.addEventListener("input", () => {
    const value = bounded(row.name, input.value);
    output.textContent = written(row, value);
    input.setAttribute("aria-valuetext", written(row, value));
    changeSetting(side, row.name, value);
  });
  return make("span.slider", {}, shared ? null : chip(side), input, output);
}

function typed(name, label, told, side, shared, extra) {
  const clean = name === "seed" ? seedOf : (text) => text.slice(0, 200);
  const input = make("input", { type: "text", id: `set-${name}-${side}`, spellcheck: "false", autocomplete: "off", "aria-label": shared ? null : `${label}, ${side.toUpperCase()}`, "aria-describedby": `told-${name}`, value: settings(side)[name], ...extra });
  input.addEventListener("change", () => {
    input.value = clean(input.value);
    changeSetting(side, name, input.value);
  });
  return make("span.slider", {}, shared ? null : chip(side), input);
}

function draw() {
  const who = state.locked ? ["a"] : sides(), shared = who.length < 2;
  const row = (name, label, told, controls) => make("div.setting", {},
    make(shared ? "label" : "span.label", shared ? { for: `set-${name}-a` } : {}, label), controls, make("small", { id: `told-${name}` }, told));
  find("settings-grid").replaceChildren(
    ...ROWS.map((one) => row(one.name, one.label, one.told, who.map((side) => slider(one, side, shared)))),
    row("stop", "Stop at", "texts that end it; | between several, \\n is a new line", who.map((side) => typed("stop", "Stop at", "", side, shared, { placeholder: "nothing" }))),
    row("seed", "Seed", "a number repeats the same draw; empty takes a new one", who.map((side) => typed("seed", "Seed", "", side, shared, { placeholder: "new each time", inputmode: "numeric" }))),
  );
}

function summary() {
  const of = (side) => {
    const one = settings(side), parts = [`temperature ${written(ROWS[0], one.temperature)}`, `${one.characters} characters`];
    for (const row of ROWS.slice(1)) {
      if (row.name !== "characters" && one[row.name] !== DEFAULTS[row.name]) parts.push(`${row.label.toLowerCase()} ${written(row, one[row.name])}`);
    }
    if (one.stop) parts.push("stop strings");
    if (one.seed) parts.push(`seed ${one.seed}`);
    return parts.join(", ");
  };
  const each = state.locked || sides().length < 2 ? [of("a")] : sides().flatMap((side) => [chip(side), ` ${of(side)} `]);
  find("settings-summary").replaceChildren(...each);
}

// Settings by a line in the prompt: "/temperature 0.5", "/topk 40", "/clear" ... True if it was one.
export function command(line, clear) {
  const [, word, text] = line.match(/^\/([a-z-]+)(?:\s+(\S+))?\s*$/) ?? [];
  const name = { temperature: "temperature", temp: "temperature", topk: "top_k", topp: "top_p", minp: "min_p", penalty: "repetition_penalty", characters: "characters", samples: "samples", seed: "seed" }[word?.replace("-", "")];
  if (word === "clear") clear();
  else if (word === "reset") change({ settings: { a: { ...DEFAULTS }, b: { ...DEFAULTS } } });
  else if (name === "seed") sides().forEach((side) => changeSetting(side, "seed", seedOf(text ?? "")));
  else if (name && bounded(name, text ?? "") !== null) sides().forEach((side) => changeSetting(side, name, bounded(name, text)));
  else return false;
  draw();
  return true;
}

export function mount() {
  const lock = find("lock");
  lock.checked = state.locked;
  lock.addEventListener("change", () => {
    const { a, b } = state.settings;
    change({ locked: lock.checked, settings: lock.checked ? { a, b: { ...a } } : { a, b } });
  });
  find("settings-reset").addEventListener("click", () => {
    change({ settings: { a: { ...DEFAULTS }, b: { ...DEFAULTS } } });
    draw();
  });
  on(["locked", "models", "a", "b"], () => {
    lock.closest("label").hidden = sides().length < 2;
    draw();
    summary();
  });
  on(["settings"], summary);
}
