// Every key of both configs, labelled by the doctor; and the files, to copy.

import { get } from "./api.js";
import { chip, find, make, say } from "./dom.js";
import { failed, loading } from "./panel.js";
import { model, sides, state } from "./store.js";
import { glyph, points } from "./text.js";

let drawn = "", asked = null;

const flat = (text) => points(text).map((c) => (c === " " ? c : glyph(c))).join("");

export async function show() {
  const who = sides(), names = who.map((side) => model(side).name), wanted = JSON.stringify(names), box = find("config");
  if (!names.length || drawn === wanted) return;
  asked?.abort();
  asked = new AbortController();
  const { signal } = asked;
  loading(box, "Reading the configs …", () => asked.abort());
  try {
    const answer = await get(`page/config?${new URLSearchParams(names.map((name) => ["models", name]))}`, signal);
    box.replaceChildren(...content(answer, who));
    drawn = wanted;
  } catch (error) {
    failed(box, error, show);
  }
}

function content(answer, who) {
  const differing = answer.keys.filter((key) => key.differs), same = answer.keys.filter((key) => !key.differs);
  const groups = who.length > 1 ? [["Different", differing], ["The same", same]] : [["All keys", answer.keys]];
  return [
    make("p.lede", {}, "What a config says about the architecture is one thing, how the model was trained another. The doctor tells them apart, key by key."),
    make("div.scroll", { role: "region", "aria-label": "Config keys", tabindex: 0 }, make("table.keys", {},
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "key"), who.map((side) => make("th", { scope: "col" }, chip(side), " ", make("span.soft", {}, model(side).name))), make("th", { scope: "col" }, "kind"), make("th", { scope: "col" }, "what it is"))),
      groups.filter(([, keys]) => keys.length).map(([title, keys]) => make("tbody", {},
        make("tr.part", {}, make("th", { scope: "rowgroup", colspan: who.length + 3 }, `${title} (${keys.length})`)), keys.map(row))))),
    make("h3", {}, "The files, to copy"),
    make("div.twins", {}, answer.files.map((files, i) => copies(files, who[i]))),
  ];
}

function row(key) {
  return make("tr", {}, make("th", { scope: "row" }, make("code", {}, flat(key.key)), make("small.soft", {}, key.file)),
    key.values.map((value) => make("td", {}, value === null ? make("span.soft", {}, "–") : make("code", {}, flat(value)))),
    make("td", {}, key.labels.map((label) => make(`span.kind.${label.replace(/[^a-z]/g, "")}`, {}, label))), make("td.soft", {}, key.meaning));
}

function copies(files, side) {
  const texts = [...Object.entries(files.hf ?? {}), ...(files.tinygpt ? [["as TinyGPT's run file (TOML)", files.tinygpt]] : [])];
  return make(`section.${side}.files`, {}, make("h4", {}, chip(side), " ", model(side).name),
    texts.map(([name, text]) => make("details", {}, make("summary", {}, name), make("div.copyable", {},
      make("button.small", { type: "button", onclick: () => copy(name, text) }, "Copy"), make("pre", { tabindex: 0 }, text)))),
    files.why_not ? make("p.soft", {}, files.why_not) : null);
}

async function copy(name, text) {
  try {
    await navigator.clipboard.writeText(text);
    say(`${name} copied`);
  } catch {
    say("The browser did not allow copying; mark the text and copy it.");
  }
}

export const forget = () => { drawn = ""; if (state.tab === "config") show(); };
