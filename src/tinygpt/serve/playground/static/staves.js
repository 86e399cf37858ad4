// Two tokenizations of one text as a score: lines of so many columns, under each other the tokens
// of every model at the same places. Pure.

import { columns } from "./text.js";

// Lines as [begin, end] code points: at a newline, else at a space near the edge, else at the edge.
export function lines(characters, width) {
  const found = [];
  let begin = 0, filled = 0, space = -1;
  for (let i = 0; i < characters.length; i += 1) {
    filled += columns(characters[i]);
    if (filled > width && i > begin) {
      const end = space > begin && i - space < width / 3 ? space + 1 : i;
      found.push([begin, end]);
      filled = characters.slice(end, i + 1).reduce((sum, c) => sum + columns(c), 0);
      [begin, space] = [end, -1];
    }
    if (characters[i] === " ") space = i;
    if (characters[i] === "\n") {
      found.push([begin, i + 1]);
      [begin, filled, space] = [i + 1, 0, -1];
    }
  }
  if (begin < characters.length) found.push([begin, characters.length]);
  return found;
}

// The tokens of one model within a line. A token over the edge appears in both lines; one that
// shares a character with the token before (bytes of an emoji, say) has no width of its own and
// is counted on the piece that shows the character.
export function stave(characters, tokens, [begin, end]) {
  const shown = [];
  let at = begin, low = 0, high = tokens.length;
  while (low < high) { // the first token that ends after the line begins
    const middle = (low + high) >> 1;
    if (tokens[middle].end > begin) high = middle; else low = middle + 1;
  }
  for (let i = low; i < tokens.length && tokens[i].start < end; i += 1) {
    const from = Math.max(tokens[i].start, at), to = Math.min(tokens[i].end, end);
    if (from > at) shown.push(piece(characters, at, from, null));
    if (to > from) shown.push({ ...piece(characters, from, to, i), opens: tokens[i].start === from, closes: tokens[i].end === to });
    else if (shown.length && tokens[i].end > begin) shown.at(-1).more += 1;
    at = Math.max(at, to);
  }
  if (at < end) shown.push(piece(characters, at, end, null));
  return shown;
}

function piece(characters, from, to, token) { // token null: what the tokenizer does not know
  const inside = characters.slice(from, to);
  return { from, to, token, more: 0, opens: true, closes: true, width: inside.reduce((sum, c) => sum + columns(c), 0) };
}
