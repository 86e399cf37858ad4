// The curves of a run, followed while it is being trained, among what its text costs without a
// network; and its samples step by step.

import { get, ServerGone } from "./api.js";
import { lineChart, NARROW, thinned } from "./chart.js";
import { calm, find, make, refill, say } from "./dom.js";
import { failed, loading } from "./panel.js";
import { merged } from "./runlog.js";
import { change, state } from "./store.js";
import { count, duration, plural, readable } from "./text.js";

const EVERY = 1500, MOST_POINTS = 400; // ms between looks; points of the noisy curve
let runs = [], run = null, timer = 0, looks = 0;

export async function show() {
  clearTimeout(timer);
  const look = looks += 1, box = find("training");
  if (!run) loading(box, "Looking for runs …");
  try {
    runs = (await get("page/runs")).runs;
  } catch (error) {
    if (look === looks) failed(box, error, show);
    return;
  }
  if (look !== looks) return;
  if (!runs.length) {
    box.replaceChildren(make("div.quiet", {}, make("p", {}, "No run yet. This trains one on Shakespeare in about a minute; while it learns, its curve grows here:"),
      make("pre.command", { tabindex: 0 }, "tinygpt train --minutes 1"), make("button.small", { type: "button", onclick: show }, "Look again")));
    return;
  }
  const chosen = runs.find((one) => one.name === state.run) ?? runs.find((one) => one.state === "training") ?? runs.find((one) => one.served) ?? runs[0];
  if (run?.name !== chosen.name) run = { name: chosen.name, log: null, samples: [], sampleLines: 0, yardsticks: null, at: null };
  frame();
  follow(look);
  yardsticks(run);
}

function frame() {
  const picker = make("select", { id: "run" }, runs.map((one) => make("option", { value: one.name }, `${one.name}${one.state === "training" ? " (training)" : ""}`)));
  picker.value = run.name;
  picker.addEventListener("change", () => { change({ run: picker.value }); show(); });
  find("training").replaceChildren(
    make("p.setting.row", {}, make("label", { for: "run" }, "Run"), picker, make("span.soft", { id: "run-told" })),
    make("figure.wide", {}, make("div", { id: "curve" }), make("figcaption", { id: "curve-told" })),
    make("div", { id: "run-samples" }),
  );
}

async function follow(look) {
  const one = run;
  try {
    for (let more = true; more;) {
      const answer = await get(`page/runs/${encodeURIComponent(one.name)}?after=${one.log?.lines ?? 0}`);
      if (look !== looks) return;
      one.log = merged(one.log, answer);
      more = answer.more;
    }
    for (let more = true; more;) {
      const answer = await get(`page/runs/${encodeURIComponent(one.name)}/samples?after=${one.sampleLines}`);
      if (look !== looks) return;
      if (answer.lines < one.sampleLines) one.samples = [];
      const first = answer.samples[0]?.step ?? Infinity;
      one.samples = [...one.samples.filter((sample) => sample.step < first), ...answer.samples];
      one.sampleLines = answer.lines;
      more = answer.more;
    }
    picture();
    samples();
  } catch (error) {
    if (look !== looks) return;
    if (!(error instanceof ServerGone)) {
      failed(find("training"), error, show);
      return;
    }
  }
  if (one.log?.state === "training" && state.tab === "training") timer = setTimeout(() => follow(look), EVERY);
}

async function yardsticks(one) { // slow once: the curve does not wait for it
  if (one.yardsticks) return;
  try {
    one.yardsticks = await get(`page/runs/${encodeURIComponent(one.name)}/yardsticks`);
  } catch {
    return; // the curve stands without
  }
  if (one === run) picture();
}

function picture() {
  const box = find("curve"), { log } = run;
  if (!box || !log) return;
  told();
  if (!log.steps.length && !log.evaluations.length) {
    box.replaceChildren(make("p.quiet", {}, "Nothing was logged yet."));
    return;
  }
  const inBits = log.unit === "bits per byte", levels = inBits ? (run.yardsticks?.yardsticks ?? []).map((one) => ({ name: one.name, y: one.bits_per_byte })).sort((p, q) => q.y - p.y) : [];
  const evaluations = log.evaluations.filter((one) => one.val !== null).map((one) => [one.step, one.val]);
  const width = Math.max(300, box.clientWidth), last = evaluations.at(-1);
  box.replaceChildren(lineChart({
    width,
    height: width < NARROW ? 280 : 400,
    curves: [{ points: thinned(log.steps.map((step) => [step[0], step[3]]), MOST_POINTS), css: "curve.faint" }, { points: evaluations, css: "curve", dots: evaluations.length < 60 }],
    levels,
    x: "steps",
    until: log.state === "training" ? log.goal?.max_steps ?? 0 : 0, // so that one sees how far it is
    y: `${log.unit}, lower is better (log scale)`,
    at: run.samples.length ? run.samples[run.at ?? run.samples.length - 1].step : null,
    told: `${log.unit} over steps. ${last ? `Held out: ${evaluations[0][1].toFixed(2)} at step ${evaluations[0][0]}, ${last[1].toFixed(2)} at step ${last[0]}.` : ""} ${levels.map((level) => `${level.name} ${level.y.toFixed(2)}`).join(", ")}`,
  }));
  refill(find("curve-told"),
    make("span", {}, make("i.curve"), "held-out text"), make("span", {}, make("i.faint"), "training batches"),
    levels.length ? make("span", {}, make("i.level"), `what the same text costs without a network${width < NARROW ? `: ${levels.map((level) => `${level.name} ${level.y.toFixed(2)}`).join(", ")}` : ""}`) : null,
    !levels.length && run.yardsticks?.why_not ? make("span.soft", {}, ` No yardsticks: ${run.yardsticks.why_not}`) : null,
    !run.yardsticks && inBits ? make("span.soft", {}, make("span.pulse", {}), " measuring the yardsticks …") : null);
}

function told() {
  const { log } = run, step = log.steps.at(-1), last = log.evaluations.at(-1), goal = log.goal ?? {};
  const of = goal.max_steps ? ` of ${count(goal.max_steps)}` : "", minutes = goal.minutes ? ` of ${duration(60 * goal.minutes)}` : "";
  const words = { training: "being trained", finished: "finished", stopped: "stopped" }[log.state] ?? log.state;
  refill(find("run-told"),
    log.state === "training" ? make("span.pulse", {}) : "", ` ${words}`,
    step ? `: step ${count(Math.max(step[0], last?.step ?? 0))}${of}, ${duration(step[2])}${minutes}` : "", last?.val !== null && last ? `; held out ${last.val.toFixed(3)} ${log.unit}` : "",
    log.unreadable ? `; ${plural(log.unreadable, "line")} of its log can't be read` : "");
}

function samples() {
  const box = find("run-samples"), all = run.samples;
  if (!all.length) {
    box.replaceChildren(make("p.quiet", {}, run.log?.state === "training" ? "Its first sample comes with the next measurement." : "This run kept no samples."));
    return;
  }
  const old = box.querySelector("input");
  if (old && Number(old.max) === all.length - 1) return;
  const pre = make("pre.sample-text"), output = make("output", { for: "scrub" }), input = make("input", { type: "range", id: "scrub", min: 0, max: all.length - 1, step: 1 });
  input.value = run.at ?? all.length - 1; // follows the newest until somebody moves it
  const write = () => {
    const one = all[Number(input.value)];
    output.textContent = `step ${count(one.step)}`;
    input.setAttribute("aria-valuetext", output.textContent);
    pre.replaceChildren(make("span.prompt", {}, readable(one.prompt)), readable(one.text));
  };
  input.addEventListener("input", () => {
    run.at = Number(input.value) === all.length - 1 ? null : Number(input.value);
    write();
    mark();
  });
  write();
  const focused = old === document.activeElement;
  const hint = make("p.soft", {}, `One sample, at step ${count(all[0].step)}. `, make("code", {}, "tinygpt train --sample-prompt TEXT"), " writes one at every measurement.");
  refill(box, make("h3", {}, all.length > 1 ? "What it wrote on the way" : "What it wrote"),
    all.length > 1 ? make("p.setting.row.scrub", {}, make("label", { for: "scrub" }, "At"), make("span.slider", {}, input, output)) : hint, pre);
  if (focused) input.focus();
  else if (old) say(`A new sample at step ${count(all.at(-1).step)}`);
}

const mark = calm(picture, 30);

export function mount() {
  new ResizeObserver(calm(() => { if (state.tab === "training" && run?.log) picture(); }, 100)).observe(find("panel-training"));
}
