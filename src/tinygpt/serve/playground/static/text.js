// Text as the page shows it. Pure: no DOM here.
//
// The API counts code points, JavaScript counts UTF-16 units; so every text that offsets point
// into is held as an array of code points, and only this file turns one into the other.

export const points = (text) => Array.from(text);

const BIDI = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/;
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\ud800-\udfff\ufeff]/;
const WIDE = /^[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f000}-\u{1faff}\u{20000}-\u{3fffd}]/u;
const MARK = /^[\p{Mn}\p{Me}\u200b-\u200d\ufe0f]$/u;

function escaped(character) { // the same escapes as tinygpt.escape.printable
  const code = character.codePointAt(0);
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
}

// What stands for one character where it is part of a running text.
export function printable(character) {
  const alone = character.length === 1;
  return alone && (CONTROL.test(character) || BIDI.test(character)) ? escaped(character) : character;
}

export const readable = (text) => points(text).map(printable).join("");

// The same where white space has to be seen.
export function glyph(character) {
  return { "\n": "⏎", "\t": "→", " ": "␣" }[character] ?? printable(character);
}

export const spaced = (text) => points(text).map(glyph).join("");

// How many columns of a monospaced line a character takes.
export function columns(character) {
  if (character === "\n" || character === "\t") return 1;
  const shown = printable(character);
  if (shown !== character) return shown.length;
  return MARK.test(character) ? 0 : WIDE.test(character) ? 2 : 1;
}

export const bytes = (text) => new TextEncoder().encode(text).length;

// The end of a text, at most so many characters, the cut shown.
export function tail(text, most) {
  const all = points(text);
  return all.length <= most ? text : `…${all.slice(1 - most).join("")}`;
}

export const count = (n) => n.toLocaleString("en");

export function plural(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}

export function short(value) { // at most three digits and k, M, G or T, as in the reports
  for (const [factor, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= factor * 0.9995) return `${Number((value / factor).toPrecision(3))} ${letter}`;
  }
  return `${Number(value.toPrecision(3))}`;
}

export function size(n) { // of memory
  for (const [factor, unit] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (n >= factor) return `${(n / factor).toPrecision(3)} ${unit}`;
  }
  return plural(n, "byte");
}

export function percent(p) {
  if (p >= 0.9995) return "100%";
  return p >= 0.0995 ? `${Math.round(100 * p)}%` : p >= 0.001 ? `${(100 * p).toFixed(1)}%` : "<0.1%";
}

export function duration(seconds) {
  if (seconds < 1) return `${Math.round(1000 * seconds)} ms`;
  if (seconds < 90) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}
