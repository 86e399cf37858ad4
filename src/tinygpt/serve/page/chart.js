// Axes and curves as SVG, like those of the reports: round ticks, units, colours by class.

import { draw } from "./dom.js";
import { short } from "./text.js";

export function ticksOver(low, high, wanted) { // round ones inside [low, high]
  const rough = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((k) => k >= rough / power - 1e-9) * power, ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k += 1) ticks.push(k * step);
  return { ticks, step };
}

export function scale(low, high, begin, end) {
  return (value) => begin + ((value - low) / (high - low || 1)) * (end - begin);
}

const label = (tick, step) => (Math.abs(tick) >= 1000 ? short(tick) : tick.toFixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-9))));

// curves: [{points: [[x, y]], css, dots}], levels: [{name, y}]; a picture `width` wide.
export function lineChart({ width, height, curves, levels, x: across, y: upwards, at, told }) {
  const narrow = width < 520, left = 40, right = width - (narrow ? 12 : 118), top = 30, bottom = height - 42;
  const all = curves.flatMap((curve) => curve.points), ys = [...all.map((p) => p[1]), ...levels.map((level) => level.y)];
  const highest = Math.max(...all.map((p) => p[0]), 1);
  const { ticks: yTicks, step: yStep } = ticksOver(Math.min(...ys, Infinity), Math.max(...ys), 5);
  const least = Math.min(...ys, ...yTicks) - yStep * 0.3, most = Math.max(...ys) + yStep * 0.2;
  const { ticks: xTicks, step: xStep } = ticksOver(0, highest, narrow ? 4 : 7);
  const x = scale(0, highest, left, right), y = scale(least, most, bottom, top);
  const line = (x1, y1, x2, y2, css) => draw(`line.${css}`, { x1, y1, x2, y2 });
  const words = (px, py, text, css, anchor = "start") => draw(`text.${css}`, { x: px, y: py, "text-anchor": anchor }, text);
  const parts = [words(2, 14, upwards, "label"), words((left + right) / 2, height - 6, across, "label", "middle")];
  for (const tick of yTicks) parts.push(line(left, y(tick), right, y(tick), "grid"), words(left - 6, y(tick) + 4, label(tick, yStep), "tick", "end"));
  for (const tick of xTicks) parts.push(words(x(tick), bottom + 16, label(tick, xStep), "tick", "middle"));
  parts.push(line(left, bottom, right, bottom, "axis"));
  let above = -Infinity;
  for (const level of [...levels].sort((p, q) => q.y - p.y)) {
    const py = y(level.y), named = Math.max(py + 4, above + 14), text = `${level.name} ${level.y.toFixed(2)}`;
    parts.push(line(left, py, right, py, "level"));
    if (narrow) parts.push(words(right, py - 4, text, "note", "end"));
    else parts.push(words(right + 6, named, text, "note"));
    above = named;
  }
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
