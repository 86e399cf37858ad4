// Axes and curves as SVG, like those of the reports: round ticks, units, colours by class.

import { draw } from "./dom.js";
import { count } from "./text.js";

export const NARROW = 520; // pixels, below which names stand under the picture
const CHARACTER = 6.8; // pixels of one at 12 px, about

function ticksOver(low, high, wanted) { // round ones inside [low, high]
  const rough = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((k) => k >= rough / power - 1e-9) * power, ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k += 1) ticks.push(k * step || 0); // no -0
  return { ticks, step };
}

export function scale(low, high, begin, end) {
  return (value) => begin + ((value - low) / (high - low || 1)) * (end - begin);
}

const label = (tick, step) => (step >= 1 ? count(tick) : tick.toFixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-9))));

const LOG_TICKS = [0.1, 0.2, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 16];

// Names beside their lines, none over another: pushed down from the top, then up from the bottom.
export function spread(places, low, room) {
  const found = places.map(() => 0);
  let above = -Infinity, below = low;
  places.forEach((y, i) => { above = found[i] = Math.max(y, above + room); });
  for (let i = places.length - 1; i >= 0; i -= 1) {
    found[i] = Math.min(found[i], below);
    below = found[i] - room;
  }
  return found;
}

// curves: [{points: [[x, y]], css, dots}], levels: [{name, y}]; a picture `width` wide. The upward
// axis is logarithmic: most of the learning is a small part of the bits.
export function lineChart({ width, height, curves, levels, x: across, y: upwards, until, at, told }) {
  const narrow = width < NARROW, named = levels.map((level) => ({ ...level, text: `${level.name} ${level.y.toFixed(2)}` })).sort((p, q) => q.y - p.y);
  const room = narrow || !named.length ? 12 : 16 + CHARACTER * Math.max(...named.map((level) => level.text.length));
  const left = 40, right = width - room, top = 30, bottom = height - 42;
  const all = curves.flatMap((curve) => curve.points), ys = [...all.map((p) => p[1]), ...levels.map((level) => level.y)].filter((y) => y > 0);
  const least = Math.min(...ys) / 1.08, most = Math.max(...ys) * 1.05, highest = Math.max(...all.map((p) => p[0]), until, 1);
  const { ticks: xTicks, step: xStep } = ticksOver(0, highest, narrow ? 3 : 6);
  const x = scale(0, highest, left, right), logged = scale(Math.log(least), Math.log(most), bottom, top), y = (value) => logged(Math.log(Math.max(value, least)));
  const line = (x1, y1, x2, y2, css) => draw(`line.${css}`, { x1, y1, x2, y2 });
  const words = (px, py, text, css, anchor = "start") => draw(`text.${css}`, { x: px, y: py, "text-anchor": anchor }, text);
  const parts = [words(2, 14, upwards, "label"), words((left + right) / 2, height - 6, across, "label", "middle")];
  for (const tick of LOG_TICKS.filter((one) => one >= least && one <= most)) parts.push(line(left, y(tick), right, y(tick), "grid"), words(left - 6, y(tick) + 4, String(tick), "tick", "end"));
  for (const tick of xTicks) parts.push(words(x(tick), bottom + 16, label(tick, xStep), "tick", "middle"));
  parts.push(line(left, bottom, right, bottom, "axis"));
  const places = spread(named.map((level) => y(level.y) + 4), bottom + 4, 15);
  named.forEach((level, i) => {
    parts.push(line(left, y(level.y), right, y(level.y), "level"));
    if (!narrow) parts.push(words(right + 8, places[i], level.text, "note"));
  });
  for (const curve of curves) {
    if (curve.points.length > 1) parts.push(draw(`polyline.${curve.css}`, { points: curve.points.map(([px, py]) => `${x(px).toFixed(1)},${y(py).toFixed(1)}`).join(" ") }));
    if (curve.dots) parts.push(...curve.points.map(([px, py]) => draw("circle.dot", { cx: x(px), cy: y(py), r: 3 })));
  }
  if (at !== null && at <= highest) parts.push(line(x(at), top, x(at), bottom, "now"));
  return draw("svg.chart", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": told }, parts);
}

// A long curve in at most so many points: means over equal stretches, so that no noise is hidden
// by leaving points out.
export function thinned(points, most) {
  if (points.length <= most) return points;
  const each = points.length / most;
  return Array.from({ length: most }, (_, i) => {
    const part = points.slice(Math.floor(i * each), Math.floor((i + 1) * each));
    return [0, 1].map((k) => part.reduce((sum, point) => sum + point[k], 0) / part.length);
  });
}
