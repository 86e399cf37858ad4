"use strict";
// Hovering, touching or the arrow keys choose a character; every panel shows the token it is in.
const { glyphs, words, views, difference } = JSON.parse(document.getElementById("numbers").textContent);
const text = document.getElementById("text");
const place = document.getElementById("place");
const LETTERS = ["A", "B"];
const ends = [...views.map((view) => view.cells.map((cell) => cell[0])), difference.map((d) => d[0])];
const panels = [...text.querySelectorAll("pre")].map((pre) => [...pre.children]);
const lines = [0];
glyphs.forEach((glyph, i) => { if (glyph === "⏎" && i + 1 < glyphs.length) lines.push(i + 1); });
const owner = new Map(); // span -> its panel and its first character
panels.forEach((spans, panel) => spans.forEach((span, i) => {
  owner.set(span, [panel, i ? ends[panel][i - 1] : 0]);
}));
let at = 0, active = 0, marked = [];

function make(tag, className, content) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (content !== undefined) element.textContent = content;
  return element;
}

function cellAt(panel, character) { // the first cell that ends after the character
  let low = 0, high = ends[panel].length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ends[panel][middle] > character) high = middle; else low = middle + 1;
  }
  return low;
}

const lineOf = (character) => lines.findLastIndex((first) => first <= character);
const percent = (p) => (p >= 0.0995 ? `${Math.round(100 * p)}%` : p >= 0.001 ? `${(100 * p).toFixed(1)}%` : "<0.1%");
const quoted = (begin, end) => glyphs.slice(Math.max(0, begin), Math.max(0, end)).join("");

function where() {
  const line = lineOf(at), quote = make("span", "quote");
  quote.append(quoted(at - 16, at), make("mark", "", glyphs[at]), quoted(at + 1, at + 13));
  document.getElementById("where").replaceChildren(
    quote,
    make("span", "", `character ${(at + 1).toLocaleString("en")} of ${glyphs.length.toLocaleString("en")}, line ${line + 1}`),
  );
}

function column(view, index) {
  const tokens = view.cells[cellAt(index, at)][1];
  const card = make("div", LETTERS[index]), head = make("h3");
  head.append(make("b", `tag ${LETTERS[index]}`, LETTERS[index]), " ", make("code", "", tokens.map((t) => words[t[0]]).join("·")));
  const [token, , rank, ...likeliest] = tokens[0]; // a word and its thousandths, in turn
  const bits = tokens.reduce((sum, t) => sum + t[1], 0);
  const told = rank === null ? (likeliest.length ? "" : "no guess: outside the vocabulary, or first of all")
    : `guess no. ${rank.toLocaleString("en")}`;
  card.append(head, make("p", "", `${bits.toFixed(2)} bits; ${told}`));
  const list = make("ol");
  for (let i = 0; i < likeliest.length; i += 2) {
    const alternative = likeliest[i], probability = likeliest[i + 1] / 1000;
    const item = make("li", alternative === token ? "actual" : "");
    const track = make("span"), bar = make("span", "bar");
    bar.style.width = `${Math.max(1, 100 * probability)}%`;
    bar.style.display = "block";
    track.append(bar);
    item.append(make("code", "", words[alternative]), track, make("span", "share", percent(probability)));
    list.append(item);
  }
  card.append(list);
  return card;
}

function gap() {
  const i = cellAt(2, at), [end, a, b] = difference[i], begin = i ? difference[i - 1][0] : 0;
  const card = make("div", "gap"), head = make("h3");
  head.append(make("b", "tag", "±"), " ", make("code", "", quoted(begin, end)));
  const less = Math.abs(b - a) < 0.005 ? "the same" : `${b < a ? "B" : "A"} pays ${Math.abs(b - a).toFixed(2)} bits less`;
  card.append(head, make("p", "", less), make("p", "", `A ${a.toFixed(2)}, B ${b.toFixed(2)} bits for all of it`));
  return card;
}

function show(character, speak) {
  at = Math.min(Math.max(character, 0), glyphs.length - 1);
  marked.forEach((span) => span.classList.remove("here"));
  marked = panels.map((spans, panel) => spans[cellAt(panel, at)]);
  marked.forEach((span) => span.classList.add("here"));
  place.hidden = false;
  where();
  const columns = views.map(column);
  if (views.length > 1) columns.push(gap());
  document.getElementById("columns").replaceChildren(...columns);
  if (speak) {
    const bits = views.map((view, i) => `${LETTERS[i]} ${view.cells[cellAt(i, at)][1].reduce((s, t) => s + t[1], 0).toFixed(1)} bits`);
    document.getElementById("spoken").textContent = `${glyphs[at]}: ${bits.join(", ")}`;
  }
}

function key(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const line = lineOf(at), column = at - lines[line];
  const last = (l) => (l + 1 < lines.length ? lines[l + 1] : glyphs.length) - 1;
  const to = (l) => Math.min(lines[l] + column, last(l));
  const goal = {
    ArrowRight: at + 1,
    ArrowLeft: at - 1,
    ArrowDown: line + 1 < lines.length ? to(line + 1) : at,
    ArrowUp: line ? to(line - 1) : at,
    Home: lines[line],
    End: last(line),
  }[event.key];
  if (event.key === "Escape") close();
  if (goal === undefined) return;
  event.preventDefault();
  show(goal, true);
  reveal("nearest");
}

function reveal(block) { // in the panel last pointed at, or the first that is shown
  const shown = marked.filter((span) => span.offsetParent);
  (shown.includes(marked[active]) ? marked[active] : shown[0]).scrollIntoView({ block });
}

function point(event) {
  const found = owner.get(event.target);
  if (!found) return;
  active = found[0];
  const inside = charactersBefore(event);
  show(found[1] + inside, false);
}

function charactersBefore(event) { // within the span, where the browser can tell
  const caret = document.caretPositionFromPoint?.(event.clientX, event.clientY);
  const range = caret ? null : document.caretRangeFromPoint?.(event.clientX, event.clientY);
  const node = caret?.offsetNode ?? range?.startContainer, offset = caret?.offset ?? range?.startOffset;
  if (node?.parentNode !== event.target) return 0;
  const spans = panels[active], i = spans.indexOf(event.target);
  const begin = owner.get(event.target)[1], end = ends[active][i];
  let rest = leftOf(node, offset, event.clientX) ? Math.max(0, offset - 1) : offset, character = begin;
  while (character + 1 < end) { // a newline is two letters on the page, an escape several
    const wide = glyphs[character] === "⏎" ? 2 : glyphs[character].length;
    if (rest < wide) break;
    rest -= wide;
    character += 1;
  }
  return character - begin;
}

function close() {
  place.hidden = true;
  marked.forEach((span) => span.classList.remove("here"));
  marked = [];
}

function leftOf(node, offset, x) { // a caret stands between two letters: is the pointer before it?
  if (!offset) return false;
  const letter = document.createRange();
  letter.setStart(node, offset - 1);
  letter.setEnd(node, offset);
  return x < letter.getBoundingClientRect().right;
}

text.tabIndex = 0;
text.setAttribute("role", "application");
text.setAttribute("aria-label", "The text; arrow keys move over its characters");
text.setAttribute("aria-describedby", "hint");
document.getElementById("hint").hidden = false;
text.addEventListener("keydown", key);
text.addEventListener("focus", () => show(at, true));
text.addEventListener("pointermove", point);
text.addEventListener("pointerdown", point);
document.getElementById("close").addEventListener("click", close);
for (const link of document.querySelectorAll(".telling a")) {
  link.addEventListener("click", (event) => {
    event.preventDefault(); // following it would take the focus off the text
    text.focus({ preventScroll: true });
    show(owner.get(document.getElementById(link.hash.slice(1)))[1], true);
    reveal("center");
  });
}
