// The lens: one text, each character coloured by what it costs each model, and by the difference.

import { post } from "./api.js";
import { chip, find, make, refill, say } from "./dom.js";
import { inspector } from "./inspector.js";
import { failed, loading } from "./panel.js";
import { model, sides, state } from "./store.js";
import { bytes, count, glyph, plural, points, spaced } from "./text.js";

const MOST = 32 * 1024; // bytes, as the server takes
let asked = null, written = () => "";

const glyphs = (text) => points(text).map((c) => (c === "\n" ? "⏎\n" : c === " " ? " " : glyph(c))).join("");

export async function score() {
  const text = find("surprise-text").value, box = find("surprise-result");
  if (!text) {
    box.replaceChildren(make("p.quiet", {}, "There is no text yet: write one above, or take one of the texts at hand."));
    find("surprise-text").focus();
    return;
  }
  asked?.abort();
  asked = new AbortController();
  const stop = asked;
  const who = sides();
  loading(box, "Asking the models what each character costs …", () => stop.abort());
  try {
    const answer = await post("page/surprise", { models: who.map((side) => model(side).name), text }, stop.signal);
    show(box, answer, who);
    say(answer.views.map((view, i) => `${who[i].toUpperCase()} ${view.bits_per_byte.toFixed(2)} bits per byte`).join(", "));
  } catch (error) {
    if (stop === asked) failed(box, error, score);
  }
}

function show(box, answer, who) {
  const characters = points(answer.text), panels = answer.views.map((view, i) => panel(view.cells, characters, "l", [chip(who[i]), " ", model(who[i]).name]));
  if (answer.difference) panels.push(panel(answer.difference, characters, "d", [make("b.chip.both", {}, "±"), " the difference"]));
  const place = make("aside.at", { "aria-label": "The place under the cursor", hidden: true });
  const area = make("div.panels", { tabindex: 0, role: "application", "aria-label": "The scored text; arrow keys move over its characters, Enter is not needed" }, panels.map((one) => one.element));
  refill(
    box,
    totals(answer, who), legend(answer), answer.prefix ? make("p.soft.prefix", {}, "Stood before it, not scored: ", make("q", {}, spaced(answer.prefix))) : null, area, place,
    telling(answer, who, characters, (at) => look(at, true)),
    make("ul.notes.soft", {}, answer.notes.map((note) => make("li", {}, note))),
  );
  const look = inspector({ area, place, panels, answer, characters, who });
}

function panel(cells, characters, kind, title) {
  let from = 0;
  const spans = cells.map(([end, level]) => {
    const span = make(`span.${kind}${level}`, {}, glyphs(characters.slice(from, end).join("")));
    from = end;
    return span;
  });
  return { spans, ends: cells.map((cell) => cell[0]), element: make("section.panel", {}, make("h3", {}, title), make("pre", {}, spans)) };
}

function totals(answer, who) {
  const { views } = answer, row = (head, ...cells) => make("tr", {}, make("th", { scope: "row" }, head), cells.map((cell) => make("td", {}, cell)));
  const gap = views.length > 1 ? views[1].bits - views[0].bits : 0, signed = (x, digits) => `${x < 0 ? "−" : "+"}${Math.abs(x).toFixed(digits)}`;
  return make("div.scroll", { role: "region", "aria-label": "Totals", tabindex: 0 }, make("table.totals", {},
    make("thead", {}, make("tr", {}, ["model", "bits per byte", "bits", "tokens", "unknown", "context"].map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", {}, views.map((view, i) => row([chip(who[i]), " ", model(who[i]).name], make("b", {}, view.bits_per_byte.toFixed(3)), count(Math.round(view.bits)), count(view.n_tokens), count(view.n_unknown), `${count(view.context)}, stride ${count(view.stride)}`)),
      views.length > 1 ? row([make("b.chip.both", {}, "±"), " B − A"], signed(gap / views[0].n_bytes, 3), signed(gap, 0), "", "", "") : null)));
}

function legend({ bounds, views }) {
  const ramp = (names, classes) => names.map((words, i) => make(`span.swatch.${classes[i]}`, {}, words));
  const surprise = bounds.surprise, difference = bounds.difference ?? [], n = difference.length - 1;
  return make("div.legend", {},
    make("p", {}, make("span.what", {}, "bits per character"), ramp(surprise, surprise.map((_, i) => `l${i}`))),
    views.length > 1 ? make("p", {}, make("span.what", {}, "± bits per character"), make("span.side", {}, "A pays less"),
      ramp([...difference].reverse().slice(0, n), difference.slice(1).map((_, i) => `d-${n - i}`)),
      ramp(difference, difference.map((_, i) => `d${i}`)), make("span.side", {}, "B pays less")) : null);
}

function telling(answer, who, characters, look) {
  const two = who.length > 1;
  return make("section.telling", {}, make("h3", {}, two ? "Where they differ most" : "The greatest surprises"),
    make("div.scroll", { role: "region", "aria-label": "The places", tabindex: 0 }, make("table", {},
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "text"), who.map((side) => make("th", { scope: "col" }, chip(side), " bits")), two ? make("th", { scope: "col" }, "B − A") : null)),
      make("tbody", {}, answer.telling.map((one) => make("tr", {},
        make("td", {}, make("button.link", { type: "button", onclick: () => look(one.start) },
          spaced(characters.slice(Math.max(0, one.start - 12), one.start).join("")), make("mark", {}, spaced(one.text)), spaced(characters.slice(one.end, one.end + 8).join("")))),
        one.bits.map((bits) => make("td", {}, bits.toFixed(2))),
        two ? make("td", {}, `${one.bits[1] < one.bits[0] ? "−" : "+"}${Math.abs(one.bits[1] - one.bits[0]).toFixed(2)}`) : null))))));
}

export function mount(textOfColumn) {
  written = textOfColumn;
  const area = find("surprise-text"), told = () => {
    const n = bytes(area.value);
    find("surprise-size").textContent = n ? `${plural(n, "byte")}${n > MOST ? `; at most ${count(MOST)} are taken` : ""}` : "";
    find("surprise-go").disabled = n > MOST;
  };
  const take = (text) => {
    area.value = text;
    told();
    score();
  };
  area.addEventListener("input", told);
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) score();
  });
  find("surprise-go").addEventListener("click", score);
  find("surprise-prompt").addEventListener("click", () => take(state.prompt ?? ""));
  for (const side of ["a", "b"]) find(`surprise-${side}`).addEventListener("click", () => take(written(side)));
}

export function shown() {
  for (const side of ["a", "b"]) find(`surprise-${side}`).hidden = !written(side);
  find("surprise-prompt").hidden = !state.prompt;
  const area = find("surprise-text");
  if (!area.value) {
    area.value = written("a") || written("b") || state.prompt || "";
    area.dispatchEvent(new Event("input"));
  }
}

export function forget() { // other models: the figures are of no use
  asked?.abort();
  find("surprise-result").replaceChildren();
}
