// A text whose tokens can be pointed at: by the pointer, or with the arrow keys and Enter.

import { make, say } from "./dom.js";
import { printable, points, spaced } from "./text.js";

const shown = (text) => points(text).map(printable).join("");

export class TextBox {
  constructor({ label, pieces, onChoose }) {
    this.pieces = pieces;
    this.onChoose = onChoose;
    this.at = null; // the token that the arrow keys are on
    this.marked = null; // the one whose bars are open
    this.spans = pieces.map((piece) => this.span(piece));
    this.caret = make("span.caret", { "aria-hidden": "true" });
    this.element = make("div.text", {
      tabindex: 0, role: "application", "aria-label": `${label}. Arrow keys move over the tokens, Enter shows what could come next there.`,
    }, this.spans, this.caret);
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.element.addEventListener("click", (event) => this.click(event));
    this.element.addEventListener("blur", () => this.light(null));
  }

  span(piece) {
    const span = make(`span.t.${piece.kind}`, {}, shown(piece.text));
    if (piece.bits !== null && piece.bits !== undefined) span.title = `${spaced(piece.text)}  ${piece.bits.toFixed(1)} bits`;
    return span;
  }

  add(piece) {
    const { element } = this, low = element.scrollHeight - element.scrollTop - element.clientHeight < 40;
    const span = this.span(piece);
    this.pieces.push(piece);
    this.spans.push(span);
    this.caret.before(span);
    if (low) element.scrollTop = element.scrollHeight; // follow, unless the reader scrolled up
  }

  ended(reason) {
    this.caret.hidden = reason !== null;
  }

  light(n) {
    this.spans[this.at]?.classList.remove("here");
    this.at = n;
    this.spans[n]?.classList.add("here");
  }

  mark(n) {
    (this.spans[this.marked] ?? this.caret).classList.remove("marked");
    this.marked = n;
    if (n !== null) this.spans[n]?.classList.add("marked");
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || !this.spans.length) return;
    const now = this.at ?? this.marked ?? (event.key === "ArrowLeft" ? this.spans.length : -1), last = this.spans.length - 1;
    const goal = {
      ArrowRight: now + 1, ArrowLeft: now - 1, ArrowDown: this.below(now, 1), ArrowUp: this.below(now, -1), Home: 0, End: last,
    }[event.key];
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.onChoose(this.at ?? last + 1, true);
    }
    if (goal === undefined) return;
    event.preventDefault();
    this.light(Math.min(Math.max(goal, 0), last));
    this.spans[this.at].scrollIntoView({ block: "nearest" });
    const piece = this.pieces[this.at];
    say(`${spaced(piece.text)}${piece.bits ? `, ${piece.bits.toFixed(1)} bits` : ""}`);
  }

  below(from, by) { // the token nearest to this one on the next line that has any
    const box = this.spans[from]?.getBoundingClientRect();
    if (!box) return from;
    let best = from, least = Infinity, line = null;
    for (let i = from + by; i >= 0 && i < this.spans.length; i += by) {
      const other = this.spans[i].getBoundingClientRect();
      if (by * (other.top - box.top) < box.height / 2) continue;
      line ??= other.top;
      if (Math.abs(other.top - line) > box.height / 2) break;
      const away = Math.abs(other.left - box.left);
      if (away < least) [best, least] = [i, away];
    }
    return best;
  }

  click(event) {
    if (String(getSelection())) return; // somebody marks text to copy it
    const span = event.target.closest(".t");
    const n = span ? this.spans.indexOf(span) : this.near(event);
    this.onChoose(n, event.detail === 0);
  }

  near(event) { // beyond the end of a line: the token that ends it; below all: the end
    const found = this.spans.findIndex((span) => {
      const boxes = [...span.getClientRects()], box = boxes.at(-1);
      return box && event.clientY >= box.top && event.clientY <= box.bottom && event.clientX <= box.right;
    });
    return found < 0 ? this.spans.length : found;
  }
}
