// What the whole page knows, and who wants to hear of a change.

import { decode, encode } from "./address.js";
import { calm } from "./dom.js";

export const state = {
  models: [], // as /page/models lists them
  runs: false, // whether there is a runs folder
  ...decode(""),
};

const listeners = [];

// on(["prompt", "a"], f): f runs after any of these changed, until what is returned is called.
export function on(names, listener) {
  const one = [names, listener];
  listeners.push(one);
  return () => { listeners.splice(listeners.indexOf(one), 1); };
}

export function change(patch) {
  const changed = Object.keys(patch).filter((name) => state[name] !== patch[name]);
  if (!changed.length) return;
  Object.assign(state, patch);
  for (const [names, listener] of [...listeners]) {
    if (names.some((name) => changed.includes(name))) listener();
  }
  soon();
}

// Now, and otherwise after a rest: browsers allow only so many changes of the address.
export function writeAddress() {
  history.replaceState(null, "", encode(state));
}

const soon = calm(writeAddress, 250);

export const model = (side) => state.models.find((one) => one.name === state[side]) ?? null;

// The sides that have a model: ["a"] or ["a", "b"].
export const sides = () => ["a", "b"].filter((side) => model(side));

export const settings = (side) => state.settings[state.locked ? "a" : side];

export function changeSetting(side, name, value) {
  const one = { ...settings(side), [name]: value };
  change({ settings: state.locked ? { a: one, b: { ...one } } : { ...state.settings, [side]: one } });
}
