// The state of the page in the address, after #, where no server and no log sees it. Pure.

export const DEFAULTS = Object.freeze({
  temperature: 0.8, top_k: 0, top_p: 1, min_p: 0, repetition_penalty: 1, characters: 300, samples: 1, stop: "", seed: "",
});

export const LONGEST_PROMPT = 2000; // in a link; programs cut longer ones

const SHORT = {
  temperature: "t", top_k: "k", top_p: "p", min_p: "m", repetition_penalty: "r", characters: "n", samples: "s", stop: "stop", seed: "seed",
};
const BOUNDS = {
  temperature: [0, 2], top_k: [0, 200], top_p: [0.01, 1], min_p: [0, 1], repetition_penalty: [0.5, 2], characters: [1, 2000], samples: [1, 4],
};

// A number inside its bounds, or null where the text is none.
export function bounded(name, text) {
  const [low, high] = BOUNDS[name], value = Number(text);
  if (text === "" || text === null || !Number.isFinite(value)) return null;
  const whole = name === "top_k" || name === "characters" || name === "samples";
  return Math.min(high, Math.max(low, whole ? Math.round(value) : value));
}

export function seedOf(text) { // "" draws a new one each time
  return /^\d{1,9}$/.test(text) ? text : "";
}

function readSettings(parameters, prefix) {
  const found = {};
  for (const [name, key] of Object.entries(SHORT)) {
    const text = parameters.get(prefix + key);
    if (text === null) continue;
    const value = name === "stop" ? text.slice(0, 200) : name === "seed" ? seedOf(text) : bounded(name, text);
    if (value !== null) found[name] = value;
  }
  return { ...DEFAULTS, ...found };
}

function writeSettings(parameters, prefix, settings) {
  for (const [name, key] of Object.entries(SHORT)) {
    if (settings[name] !== DEFAULTS[name]) parameters.set(prefix + key, String(settings[name]));
  }
}

// {tab, a, b, prompt, locked, settings: {a, b}}; what is missing or broken has its default.
export function decode(hash) {
  const parameters = new URLSearchParams(hash.replace(/^#/, ""));
  const locked = !parameters.has("free");
  const a = readSettings(parameters, "");
  return {
    tab: parameters.get("tab") ?? "write",
    a: parameters.get("a"),
    b: parameters.get("b"),
    run: parameters.get("run"),
    prompt: parameters.get("prompt"),
    locked,
    settings: { a, b: locked ? { ...a } : readSettings(parameters, "b.") },
  };
}

export function encode(state) {
  const parameters = new URLSearchParams();
  if (state.tab !== "write") parameters.set("tab", state.tab);
  if (state.a) parameters.set("a", state.a);
  if (state.b !== null) parameters.set("b", state.b); // "" is one model alone
  if (state.run && state.tab === "training") parameters.set("run", state.run);
  if (state.prompt !== null && state.prompt.length <= LONGEST_PROMPT) parameters.set("prompt", state.prompt);
  writeSettings(parameters, "", state.settings.a);
  if (!state.locked) {
    parameters.set("free", "");
    writeSettings(parameters, "b.", state.settings.b);
  }
  return `#${parameters}`;
}
