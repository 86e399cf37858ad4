// The place under the cursor in the scored text: by pointer or arrow keys, for every panel at once.

import { chip, make, refill, say } from "./dom.js";
import { count, glyph, points } from "./text.js";

const percent = (p) => (p >= 100 ? `${Math.round(p / 10)}%` : p >= 1 ? `${(p / 10).toFixed(1)}%` : "<0.1%"); // of thousandths

// Returns look(character, focus).
export function inspector({ area, place, panels, answer, characters, who }) {
  let at = 0, marked = [], active = 0;
  const owner = new Map();
  panels.forEach(({ spans, ends }, p) => spans.forEach((span, i) => owner.set(span, [p, i ? ends[i - 1] : 0])));
  const starts = [0];
  characters.forEach((c, i) => { if (c === "\n" && i + 1 < characters.length) starts.push(i + 1); });
  const lineOf = (i) => starts.findLastIndex((first) => first <= i);

  function cellAt(ends, character) { // the first cell that ends after it
    let low = 0, high = ends.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (ends[middle] > character) high = middle; else low = middle + 1;
    }
    return low;
  }

  function card(view, i) {
    const tokens = view.cells[cellAt(panels[i].ends, at)][2], [word, , rank, ...likeliest] = tokens[0];
    const bits = tokens.reduce((sum, token) => sum + token[1], 0);
    const told = rank === null ? "no guess here" : `guess no. ${count(rank)}`, list = make("ol");
    for (let k = 0; k < likeliest.length; k += 2) {
      const bar = make("span.bar");
      bar.style.width = `${Math.max(1, likeliest[k + 1] / 10)}%`;
      list.append(make(likeliest[k] === word ? "li.actual" : "li", {}, make("code", {}, answer.words[likeliest[k]]), make("span.track", {}, bar), make("span.share", {}, percent(likeliest[k + 1]))));
    }
    return make(`div.${who[i]}`, {}, make("h4", {}, chip(who[i]), " ", make("code", {}, tokens.map((token) => answer.words[token[0]]).join("·"))), make("p", {}, `${bits.toFixed(2)} bits; ${told}`), list);
  }

  function gap() {
    const i = cellAt(panels.at(-1).ends, at), [end, , a, b] = answer.difference[i], begin = i ? answer.difference[i - 1][0] : 0;
    const less = Math.abs(b - a) < 0.005 ? "the same" : `${b < a ? "B" : "A"} pays ${Math.abs(b - a).toFixed(2)} bits less`;
    return make("div.gap", {}, make("h4", {}, make("b.chip.both", {}, "±"), " ", make("code", {}, characters.slice(begin, end).map(glyph).join(""))), make("p", {}, less), make("p", {}, `A ${a.toFixed(2)}, B ${b.toFixed(2)} bits for all of it`));
  }

  function show(character, speak) {
    at = Math.min(Math.max(character, 0), characters.length - 1);
    for (const span of marked) span.classList.remove("here");
    marked = panels.map(({ spans, ends }) => spans[cellAt(ends, at)]);
    for (const span of marked) span.classList.add("here");
    place.hidden = false;
    refill(
      place,
      make("p.where", {}, make("q", {}, characters.slice(Math.max(0, at - 16), at).map(glyph).join(""), make("mark", {}, glyph(characters[at])), characters.slice(at + 1, at + 13).map(glyph).join("")),
        make("span", {}, `character ${count(at + 1)} of ${count(characters.length)}`),
        make("button.icon", { type: "button", "aria-label": "Close", onclick: close }, "×")),
      make("div.cards", {}, answer.views.map(card), answer.difference ? gap() : null),
    );
    if (speak) say(`${glyph(characters[at])}: ${answer.views.map((view, i) => `${who[i].toUpperCase()} ${view.cells[cellAt(panels[i].ends, at)][2].reduce((s, t) => s + t[1], 0).toFixed(1)} bits`).join(", ")}`);
  }

  function close() {
    place.hidden = true;
    for (const span of marked) span.classList.remove("here");
    marked = [];
  }

  function key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const line = lineOf(at), into = at - starts[line], last = (l) => (l + 1 < starts.length ? starts[l + 1] : characters.length) - 1;
    const to = (l) => (l < 0 || l >= starts.length ? at : Math.min(starts[l] + into, last(l)));
    const goal = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: to(line + 1), ArrowUp: to(line - 1), Home: starts[line], End: last(line) }[event.key];
    if (event.key === "Escape" && !place.hidden) {
      event.stopPropagation();
      close();
    }
    if (goal === undefined) return;
    event.preventDefault();
    show(goal, true);
    marked[active]?.scrollIntoView({ block: "nearest" });
  }

  function point(event) {
    const found = owner.get(event.target);
    if (!found) return;
    active = found[0];
    show(Math.min(found[1] + inside(event), characters.length - 1), false);
  }

  function inside(event) { // characters of the span before the pointer, where the browser can tell
    const caret = document.caretPositionFromPoint?.(event.clientX, event.clientY);
    if (!caret || caret.offsetNode.parentNode !== event.target) return 0;
    const before = points(caret.offsetNode.data.slice(0, caret.offset)).filter((c) => c !== "⏎").length;
    return Math.max(0, Math.min(before, points(caret.offsetNode.data).filter((c) => c !== "⏎").length - 1));
  }

  area.addEventListener("keydown", key);
  area.addEventListener("focus", () => show(at, true));
  area.addEventListener("pointermove", point);
  area.addEventListener("pointerdown", point);
  return (character) => {
    area.focus({ preventScroll: true });
    show(character, true);
    marked.at(-1).scrollIntoView({ block: "center" });
  };
}
