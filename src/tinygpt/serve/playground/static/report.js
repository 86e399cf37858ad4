// The comparison report: made in the background, seen here in a sandbox, saved as a file.

import { file, get, post, remove } from "./api.js";
import { find, make, refill, say } from "./dom.js";
import { failed } from "./panel.js";
import { model, sides } from "./store.js";
import { bytes, count, duration } from "./text.js";

const EVERY = 700, MOST = 32 * 1024;
let made = null, turn = 0;

export function mount() {
  find("report-go").addEventListener("click", start);
}

export function shown() {
  const names = sides().map((side) => model(side).name);
  refill(find("report-what"), names.length > 1 ? `${names[0]} beside ${names[1]}` : `${names[0] ?? ""} alone`);
}

async function start() {
  const box = find("report"), text = find("report-text").value, mine = turn += 1;
  if (bytes(text) > MOST) {
    failed(box, new Error(`The text has ${count(bytes(text))} bytes; at most ${count(MOST)} are taken.`), null);
    return;
  }
  const go = find("report-go");
  go.disabled = true;
  try {
    const names = [...new Set(sides().map((side) => model(side).name))];
    const { id } = await post("page/report", text ? { models: names, text } : { models: names });
    await watch(id, box, mine);
  } catch (error) {
    failed(box, error, start);
  }
  go.disabled = false;
}

async function watch(id, box, mine) {
  const bar = make("progress", { max: 1, "aria-label": "The report" }), words = make("p.soft", {});
  box.replaceChildren(make("div.making", { role: "status" }, bar, words, make("button.small", { type: "button", onclick: () => remove(`page/report/${id}`) }, "Stop")));
  for (;;) {
    const now = await get(`page/report/${id}`);
    if (mine !== turn) return;
    bar.value = now.progress;
    refill(words, `${now.what || "beginning"}; ${duration(now.elapsed_s)} so far${now.eta_s === null ? "" : `, about ${duration(now.eta_s)} to go`}`);
    if (now.state === "done") {
      await preview(id, box);
      return;
    }
    if (now.state !== "running") {
      box.replaceChildren(make("p.quiet", {}, now.state === "cancelled" ? "Stopped; nothing was kept." : now.error ?? "It failed."));
      return;
    }
    await new Promise((done) => { setTimeout(done, EVERY); });
  }
}

async function preview(id, box) {
  if (made) for (const url of made) URL.revokeObjectURL(url);
  const kinds = [["html", "HTML, one file"], ["md", "Markdown"], ["json", "JSON"]];
  const files = await Promise.all(kinds.map(([kind]) => file(`page/report/${id}.${kind}`)));
  made = files.map((one) => URL.createObjectURL(one));
  const frame = make("iframe", { sandbox: "", title: "The report" }); // no script, no origin
  frame.srcdoc = await files[0].text();
  box.replaceChildren(
    make("p.tools", {}, kinds.map(([kind, words], i) => make("a.small", { href: made[i], download: `report.${kind}` }, words))),
    frame);
  say("The report is ready");
}
