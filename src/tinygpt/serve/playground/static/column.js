// One model's column: its takes, the text of the one shown, stop, regenerate, edit and branch.

import * as bars from "./bars.js";
import { chip, find, make, say } from "./dom.js";
import { before, BUSY, DONE, explained, facts, FAILED, newTake, piecesOf, promptOf, reasonWords, run, running, STOPPED, textOf, WAITING } from "./generation.js";
import { judge } from "./judge.js";
import { cut, cutOf, lacked } from "./ribbons.js";
import { model, on, settings, state } from "./store.js";
import { count, duration, plural, points } from "./text.js";
import { TextBox } from "./textbox.js";

const MOST_TAKES = 40;

export class Column {
  constructor(side, turned) {
    this.side = side;
    this.takes = [];
    this.at = -1;
    this.turned = turned; // called when a take begins, ends or goes
    this.body = find(`body-${side}`);
    this.foot = find(`foot-${side}`);
    this.bars = null;
    this.editing = false;
    on([side, "models"], () => this.reset());
  }

  get take() { return this.takes[this.at] ?? null; }

  get busy() { return running(this.take); }

  reset() {
    this.stop();
    this.takes = [];
    this.at = -1;
    this.draw();
    this.turned(this);
  }

  // ---- writing

  start(prompt, seed) {
    const known = cutOf(model(this.side).name, prompt);
    const characters = points(prompt);
    const texts = known && !known.unknown?.length && textOf(known.tokens) === prompt ? known.tokens.map((token) => token.text) : characters;
    this.begin(texts.map((text) => ({ text, kind: "prompt", bits: null })), seed);
  }

  begin(given, seed) {
    this.stop();
    const take = newTake(model(this.side), given, { ...settings(this.side) }, seed);
    this.takes.push(take);
    if (this.takes.length > MOST_TAKES) this.takes.shift();
    this.at = this.takes.length - 1;
    const within = this.foot.closest(".column").contains(document.activeElement);
    this.draw();
    if (within) this.boxes[0].element.focus({ preventScroll: true }); // what had the focus is gone
    run(take, (index, piece) => this.changed(take, index, piece));
    this.turned(this);
  }

  changed(take, index, piece) {
    if (take !== this.take) return;
    if (piece) {
      this.boxes[index].add(piece);
      if (take.samples[index].pieces.length === 1) this.drawFoot();
      return;
    }
    this.drawFoot();
    this.boxes.forEach((box, i) => box.ended(take.samples[i].reason));
    if (!running(take)) {
      this.turned(this);
      if (take.error?.refused) this.explain(take);
      else this.judge(take);
    }
  }

  async explain(take) { // Enter may come before the prompt was cut
    await cut(take.model.name, promptOf(take)).catch(() => null);
    if (take === this.take && !this.editing) this.drawFoot();
  }

  async judge(take) { // how likely the text is, to itself and to the other
    if (take.state === FAILED || !textOf(take.samples[0].pieces)) return;
    await judge(take, this.side);
    if (take === this.take && !this.editing) this.drawFoot();
  }

  stop() {
    if (this.busy) this.take.stop.abort();
  }

  again(seed) {
    if (this.take) this.begin(this.take.given.map((piece) => ({ ...piece })), seed);
  }

  // ---- going back and forth between takes

  turn(by) {
    this.at = Math.min(Math.max(this.at + by, 0), this.takes.length - 1);
    this.draw();
  }

  // ---- drawing

  draw() {
    this.closeBars(false);
    const take = this.take;
    this.boxes = [];
    this.editing = false;
    if (!take) {
      this.body.replaceChildren(...this.empty());
      this.drawFoot();
      return;
    }
    this.boxes = take.samples.map((sample, index) => new TextBox({
      label: `${this.side.toUpperCase()}, ${take.model.name}${take.samples.length > 1 ? `, sample ${index + 1}` : ""}`,
      pieces: piecesOf(take, index),
      onChoose: (n, byKey) => this.openBars(index, n, byKey),
    }));
    this.body.replaceChildren(...this.boxes.map((box, i) => make("div.sample", {},
      take.samples.length > 1 ? make("p.which", {}, `sample ${i + 1} of ${take.samples.length}`) : null, box.element, make("div.place"))));
    this.boxes.forEach((box, i) => box.ended(take.samples[i].reason));
    this.drawFoot();
  }

  empty() {
    const one = model(this.side);
    if (!one) return [];
    return [make("p.quiet", {}, `What ${one.name} writes appears here. `, make("kbd", {}, "Enter"), " in the prompt starts it.")];
  }

  drawFoot() {
    const take = this.take, parts = [];
    if (take) {
      parts.push(this.status(take), ...this.figures(take));
      if (take.state === FAILED) parts.unshift(this.failure(take));
      parts.push(this.buttons(take));
    }
    const within = this.foot.contains(document.activeElement);
    this.foot.replaceChildren(...parts);
    if (within) this.foot.querySelector("button")?.focus();
    this.foot.closest(".column").classList.toggle("writing", running(take));
  }

  status(take) {
    const { characters, bytes, seconds, first } = facts(take);
    if (take.state === WAITING) return make("p.status", {}, make("span.pulse", {}), " reading the prompt …");
    if (take.state === BUSY) return make("p.status.busy", {}, `The server is full; asking again in ${take.busy.seconds} s. `, make("span.soft", {}, take.busy.message));
    if (running(take)) return make("p.status", {}, make("span.pulse", {}), ` writing; the first after ${duration(first)}`);
    if (!characters) return make("p.status", {}, take.state === STOPPED ? "Stopped before the first character." : take.state === DONE ? "It ended at once: nothing was written." : "");
    const rate = (n) => count(Math.round(n / seconds));
    const reasons = [...new Set(take.samples.map((sample) => reasonWords(sample.reason)))].join(", ");
    const speed = bytes === characters ? `${rate(characters)}/s` : `${rate(characters)}/s (${rate(bytes)} bytes/s)`;
    return make("p.status", {}, make("b", {}, plural(characters, "character")), ` at ${speed}, the first after ${duration(first)}; ended ${reasons}`);
  }

  figures(take) {
    const judged = take.judged, own = facts(take).bitsPerByte;
    if (running(take) || (own === null && !judged)) return [];
    const rows = [[this.side, own], ...(judged ?? []).filter(([side]) => side !== this.side)];
    return [make("p.figures-line", { title: "How surprising the written text is: bits per byte, lower is less surprising" }, "bits per byte: ",
      rows.map(([side, bits], i) => [i ? ", " : "", "to ", chip(side), " ", typeof bits === "number" ? make("b", {}, bits.toFixed(2)) : make("span.soft", {}, bits ?? "–")]))];
  }

  failure(take) {
    const { title, message, more, refused } = take.error, text = promptOf(take);
    const unread = refused && text === state.prompt && lacked(cutOf(take.model.name, text));
    const parts = unread ? [make("b", {}, `The model can't read ${unread}`)] // why stands under the prompt's tokens
      : [make("b", {}, title), make("p", {}, message), more ? make("p.soft", {}, more) : null];
    return make("div.failure", { role: "alert" }, parts);
  }

  buttons(take) {
    const button = (words, title, onclick, extra = {}) => make("button.small", { type: "button", title, onclick, ...extra }, words);
    if (running(take)) return make("p.tools", {}, button("Stop", "Stop this column (Escape stops both)", () => this.stop()));
    const many = this.takes.length > 1;
    return make("p.tools", {},
      button("Regenerate", "The same prompt with another seed", () => this.again(freshSeed())),
      button("Edit", "Change the text and write on from it", () => this.edit()),
      button("Copy", "Copy the text", () => this.copy()),
      many ? make("span.takes", {}, button("‹", "The take before", () => this.turn(-1), { "aria-label": "The take before", disabled: this.at === 0 }),
        make("span", {}, `${this.at + 1} of ${this.takes.length}`),
        button("›", "The next take", () => this.turn(1), { "aria-label": "The next take", disabled: this.at === this.takes.length - 1 })) : null,
      make("span.seed", {}, `seed ${take.seed}`));
  }

  async copy() {
    const text = this.take.samples.map((sample) => promptOf(this.take) + textOf(sample.pieces)).join("\n\n");
    try {
      await navigator.clipboard.writeText(text);
      say("Copied");
    } catch (error) {
      say(`Not copied: ${explained(error).message}`);
    }
  }

  // ---- branching and editing

  openBars(index, n, byKey) {
    this.closeBars(false);
    const take = this.take, pieces = piecesOf(take, index);
    if (running(take)) this.stop();
    const given = before(take, index, n), box = this.boxes[index];
    box.mark(n);
    this.bars = bars.open(this.body.querySelectorAll(".place")[index], {
      side: this.side,
      model: take.model,
      text: textOf(given),
      written: pieces[n]?.text ?? null,
      choose: (text) => this.begin([...given, { text, kind: "chosen", bits: null }], freshSeed()),
      goOn: () => this.begin(given, freshSeed()),
      close: () => this.closeBars(true),
    });
    if (byKey) setTimeout(() => this.bars?.focus(), 0);
  }

  closeBars(focus) {
    if (!this.bars) return;
    this.bars.shut();
    this.bars = null;
    const box = this.boxes.find((one) => one.marked !== null);
    box?.mark(null);
    if (focus) box?.element.focus();
  }

  edit() {
    this.closeBars(false);
    const take = this.take, area = make("textarea.edit", { "aria-label": "The text to write on from", spellcheck: "false", value: promptOf(take) + textOf(take.samples[0].pieces) });
    const submit = () => this.begin(points(area.value).map((text) => ({ text, kind: "kept", bits: null })), freshSeed());
    area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        submit();
      } else if (event.key === "Escape") {
        event.stopPropagation();
        this.draw();
      }
    });
    this.editing = true;
    this.body.replaceChildren(area);
    this.foot.replaceChildren(make("p.tools", {},
      make("button.small.main", { type: "button", onclick: submit }, "Write on"),
      make("button.small", { type: "button", onclick: () => this.draw() }, "Leave as it was")));
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }
}

export const freshSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000;
