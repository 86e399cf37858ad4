// The top of the page: which model stands in which column, swap, light or dark, the link.

import { LONGEST_PROMPT } from "./address.js";
import { chip, find, make, refill, say } from "./dom.js";
import { change, model, on, state, writeAddress } from "./store.js";
import { count, short, size } from "./text.js";

function badges(one) {
  const context = one.context_bytes ? `sees ${count(Math.round(one.context_bytes))} bytes` : `sees ${count(one.n_positions)} tokens`;
  const units = { char: `${count(one.vocab_size)} characters`, byte: `${count(one.vocab_size)} bytes`, bpe: `${count(one.vocab_size)} subwords` }[one.tokenizer.kind] ?? `${count(one.vocab_size)} tokens`;
  return [
    [`${short(one.n_params)} parameters`, `${count(one.n_params)} parameters: ${one.n_layer} blocks, ${count(one.n_embd)} wide`],
    [units, one.tokenizer.description],
    [context, `A context of ${count(one.n_positions)} tokens`],
    [`${one.device}, ${one.dtype}`, `${one.why_engine ?? one.engine}; ${size(one.memory_bytes)} of memory`],
  ];
}

function draw() {
  for (const side of ["a", "b"]) {
    const picker = find(`pick-${side}`), one = model(side);
    picker.replaceChildren(...(side === "b" ? [make("option", { value: "" }, state.models.length > 1 ? "no second model" : "no second model is served")] : []),
      ...state.models.map((each) => make("option", { value: each.name }, each.name)));
    picker.value = state[side] ?? "";
    picker.disabled = state.models.length < 2;
    find(`badges-${side}`).replaceChildren(...(one ? badges(one).map(([words, title]) => make("li", { title }, words)) : []));
    find(`notes-${side}`).replaceChildren(...(one?.notes ?? []).map((note) => make("p.note.bad", {}, note)));
    refill(find(`title-${side}`), chip(side), " ", one?.name ?? "");
  }
  find("side-b").hidden = state.models.length < 2;
  find("swap").hidden = !model("b");
  find("column-b").hidden = !model("b");
  find("alone").hidden = state.models.length > 1 || !state.models.length;
  document.body.classList.toggle("one", !model("b"));
}

function isDark() {
  return (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
}

function nameLight() { // the button says what it brings
  find("light").textContent = isDark() ? "Light" : "Dark";
}

function turnLight() {
  const root = document.documentElement;
  root.dataset.theme = isDark() ? "light" : "dark";
  nameLight();
  try {
    localStorage.setItem("tinygpt-theme", root.dataset.theme);
  } catch { /* kept until the page is closed */ }
}

async function share() {
  const cut = (state.prompt ?? "").length > LONGEST_PROMPT;
  writeAddress();
  try {
    await navigator.clipboard.writeText(location.href);
    note(cut ? "Link copied, without the prompt: it is too long for a link" : "Link copied: models, prompt and settings are in it");
  } catch {
    note("Copy it from the address line: the browser did not allow it");
  }
}

function note(words) {
  const box = find("toast");
  box.textContent = words;
  box.hidden = false;
  say(words);
  clearTimeout(note.timer);
  note.timer = setTimeout(() => { box.hidden = true; }, 4000);
}

export function swap() {
  if (!model("b")) return;
  const { settings } = state;
  change({ a: state.b, b: state.a, settings: { a: settings.b, b: settings.a } });
  say(`A is ${state.a}, B is ${state.b}`);
}

// Takes what /page/models lists: names of the address that are not served give way to those that are.
export function choose(models) {
  const known = (name) => models.some((one) => one.name === name);
  const a = known(state.a) ? state.a : models.find((one) => one.name !== state.b)?.name ?? models[0]?.name ?? null;
  const b = known(state.b) && state.b !== a ? state.b : state.b === "" ? "" : models.find((one) => one.name !== a)?.name ?? "";
  change({ models, a, b });
}

export function mount() {
  for (const side of ["a", "b"]) {
    find(`pick-${side}`).addEventListener("change", (event) => {
      const other = side === "a" ? "b" : "a", chosen = event.target.value;
      change(chosen && chosen === state[other] ? { [side]: chosen, [other]: state[side] } : { [side]: chosen });
    });
  }
  find("swap").addEventListener("click", swap);
  find("light").addEventListener("click", turnLight);
  find("share").addEventListener("click", share);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", nameLight);
  nameLight();
  on(["models", "a", "b"], draw);
}
