// The page: puts the parts together, and knows the keys.

import { decode } from "./address.js";
import { get, link, ServerGone } from "./api.js";
import { Column, freshSeed } from "./column.js";
import * as config from "./config.js";
import { find, make, refill, say } from "./dom.js";
import { promptOf, textOf } from "./generation.js";
import * as header from "./header.js";
import * as help from "./help.js";
import { stopJudging } from "./judge.js";
import { failed, loading } from "./panel.js";
import * as report from "./report.js";
import * as ribbons from "./ribbons.js";
import * as scale from "./scale.js";
import * as settings from "./settings.js";
import { change, on, settings as settingsOf, sides, state } from "./store.js";
import * as surprise from "./surprise.js";
import * as tabs from "./tabs.js";
import * as training from "./training.js";

const EXAMPLES = ["First Citizen:\n", "ROMEO:\nGood morrow", "Once upon a time"];
const prompt = find("prompt"), columns = {};

function go() {
  if (!sides().length) return;
  const text = prompt.value;
  if (settings.command(text, clear)) {
    prompt.value = "";
    change({ prompt: "" });
    return;
  }
  change({ prompt: text });
  stopJudging();
  const shared = freshSeed(); // the same for both
  for (const side of sides()) columns[side].start(text, settingsOf(side).seed === "" ? shared : Number(settingsOf(side).seed));
}

function clear() {
  for (const side of ["a", "b"]) columns[side].reset();
}

function stop() {
  const running = sides().filter((side) => columns[side].busy);
  for (const side of running) columns[side].stop();
  return running.length > 0;
}

function busy() {
  const any = sides().some((side) => columns[side].busy);
  find("stop").disabled = !any;
  find("empty-prompt").hidden = prompt.value !== "" || state.tab !== "write";
}

function turned() { // one sentence when all is still, not one per piece
  busy();
  if (sides().some((side) => columns[side].busy)) return;
  say(sides().filter((side) => columns[side].take).map((side) => {
    const { take } = columns[side];
    return take.error ? `${side.toUpperCase()}: ${take.error.title}` : `${side.toUpperCase()} wrote ${Array.from(textOf(take.samples[0].pieces)).length} characters`;
  }).join(". "));
}

function written(side) { // for the other tabs: the text of a column
  const take = columns[side]?.take;
  return take && textOf(take.samples[0].pieces) ? promptOf(take) + textOf(take.samples[0].pieces) : "";
}

function grow() {
  prompt.style.height = "auto";
  prompt.style.height = `${Math.min(prompt.scrollHeight + 2, 260)}px`;
}

function keys(event) {
  if (document.querySelector("dialog[open]") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && stop()) event.preventDefault();
  if (event.target.closest("input:not([type=range]):not([type=checkbox]), textarea, select") || !help.singleKeys()) return;
  const work = {
    "/": () => { change({ tab: "write" }); prompt.focus(); },
    "?": () => find("help").showModal(),
    r: () => { for (const side of sides()) columns[side].again(freshSeed()); },
    s: header.swap,
  }[event.key];
  if (/^[1-6]$/.test(event.key)) tabs.turnTo(Number(event.key));
  else if (!work) return;
  else work();
  event.preventDefault();
}

async function open() {
  const box = find("opening");
  loading(box, "Opening the page …");
  for (;;) {
    try {
      const answer = await get("page/models");
      change({ runs: answer.runs });
      refill(find("version"), `tinygpt ${answer.version}`);
      header.choose(answer.models);
      box.replaceChildren();
      find("all").hidden = false;
      break;
    } catch (error) {
      if (!(error instanceof ServerGone)) {
        failed(box, error, open);
        return;
      }
      loading(box, "The server does not answer yet; looking again …");
      await new Promise((done) => { link.addEventListener("back", done, { once: true }); });
    }
  }
  ready();
}

function ready() {
  tabs.mount({ surprise: surprise.shown, scale: scale.show, config: config.show, training: training.show, report: report.shown });
  grow();
  busy();
  if (state.tab === "write") prompt.focus({ preventScroll: true });
}

function mount() {
  Object.assign(state, decode(location.hash));
  prompt.value = state.prompt ?? EXAMPLES[0];
  state.prompt = prompt.value;
  for (const side of ["a", "b"]) columns[side] = new Column(side, turned);
  help.mount();
  header.mount();
  settings.mount();
  ribbons.mount();
  surprise.mount(written);
  scale.mount();
  training.mount();
  report.mount();
  on(["a", "b"], () => { scale.forget(); config.forget(); surprise.forget(); report.shown(); });
  prompt.addEventListener("input", () => { change({ prompt: prompt.value }); grow(); busy(); });
  prompt.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    go();
  });
  find("go").addEventListener("click", go);
  find("stop").addEventListener("click", stop);
  find("examples").append(...EXAMPLES.map((text) => make("button.small", { type: "button", onclick: () => {
    prompt.value = text;
    change({ prompt: text });
    grow();
    busy();
    prompt.focus();
  } }, text.trim().split("\n")[0])));
  document.addEventListener("keydown", keys);
  link.addEventListener("gone", () => { find("gone").hidden = false; });
  link.addEventListener("back", () => { find("gone").hidden = true; say("The server is back"); });
  open();
}

mount();
