"""Two kinds of picture with two axes: points that compare, lines that follow something."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tinygpt.report.charts.axes import Scale, bottom_axis, left_axis, scale_over, short
from tinygpt.report.charts.palette import Mark
from tinygpt.report.charts.svg import CHARACTER, WIDTH, chip, element, line, picture, text

__all__ = ["Curve", "Level", "Point", "apart", "line_chart", "scatter"]

HEIGHT = 280.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, WIDTH - 16, 28.0, 236.0
BAND = 26.0
"""Height of the strip for points without a value."""


@dataclass(frozen=True, slots=True)
class Point:
    """A model in a scatter plot; y is None where there is no figure."""

    mark: Mark
    x: float
    y: float | None


@dataclass(frozen=True, slots=True)
class Curve:
    """A line of a model: with dots and its letter, or thin and faint."""

    mark: Mark
    points: Sequence[tuple[float, float]]
    what: str
    faint: bool = False


@dataclass(frozen=True, slots=True)
class Level:
    """A dashed line across the picture: a yardstick."""

    name: str
    y: float


@dataclass(slots=True)
class _Labels:
    """Places letters beside their dots so that none covers another letter or dot."""

    taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    def place(self, x: float, y: float, width: float, right: float) -> tuple[float, float]:
        away = width / 2 + 9
        for dx, dy in ((away, 0), (-away, 0), (0, -17), (0, 17), (away, -18), (away, 18)) * 2:
            box = (x + dx - width / 2, y + dy - 8, x + dx + width / 2, y + dy + 8)
            inside = box[0] >= LEFT and box[2] <= right + 2
            if inside and not any(_overlap(box, other) for other in self.taken):
                break
        self.taken.append(box)
        return (box[0] + box[2]) / 2, y + dy

    def keep_clear(self, x: float, y: float) -> None:
        self.taken.append((x - 5, y - 5, x + 5, y + 5))


def scatter(points: Sequence[Point], x_words: str, y_words: str) -> str:
    """Draw models as points; those without a figure stand in a strip above, hollow.

    At least one point has a y.
    """
    known = [p.y for p in points if p.y is not None]
    missing = len(known) < len(points)
    top = TOP + (BAND if missing else 0)
    x = scale_over([p.x for p in points], LEFT, RIGHT, zero=True, may_be_log=True)
    y = scale_over(known, BOTTOM, top)
    parts = [*left_axis(y, LEFT, RIGHT, y_words), *bottom_axis(x, top, BOTTOM, x_words)]
    if missing:
        band = {"x": LEFT, "y": TOP - 4, "width": RIGHT - LEFT, "height": BAND - 6, "class": "band"}
        parts.append(element("rect", band))
        left = min(x(p.x) for p in points if p.y is None) > LEFT + 150
        at, anchor = (LEFT + 6, "start") if left else (RIGHT - 6, "end")
        parts.append(text(at, TOP + 10, "quality not known", "note", anchor=anchor))
    places = [(x(p.x), TOP + 6 if p.y is None else y(p.y)) for p in points]
    labels = _Labels()
    for place in places:
        labels.keep_clear(*place)
    for point, (cx, cy) in zip(points, places, strict=True):
        hollow = " hollow" if point.y is None else ""
        dot = {"cx": cx, "cy": cy, "r": 5, "class": f"dot {point.mark.css}{hollow}"}
        letter = labels.place(cx, cy, 9 + 7 * len(point.mark.letter), RIGHT)
        parts += [element("circle", dot), chip(*letter, point.mark)]
    told = "; ".join(
        f"{p.mark.letter} {p.mark.name}: {short(p.x)}, "
        + ("not known" if p.y is None else f"{p.y:.3f}")
        for p in points
    )
    return picture(WIDTH, HEIGHT, f"{x_words} across, {y_words} upwards. {told}.", parts)


def line_chart(
    curves: Sequence[Curve],
    x_words: str,
    y_words: str,
    levels: Sequence[Level] = (),
    *,
    may_be_log: bool = False,
) -> str:
    """Draw curves, letters at their ends, and levels as dashed lines with their names."""
    names = [f"{level.name} {level.y:.2f}" for level in levels]
    ends = {c.mark.letter for c in curves}
    room = max([CHARACTER * len(n) for n in names] + [9 + 7 * len(e) for e in ends]) + 12
    right = WIDTH - room
    xs = [x for c in curves for x, _ in c.points]
    ys = [y for c in curves for _, y in c.points] + [level.y for level in levels]
    x = scale_over(xs, LEFT, right, zero=True, may_be_log=may_be_log)
    y = scale_over(ys, BOTTOM, TOP)
    parts = [*left_axis(y, LEFT, right, y_words), *bottom_axis(x, TOP, BOTTOM, x_words)]
    for level in levels:
        parts.append(line(LEFT, y(level.y), right, y(level.y), "level"))
    for curve in curves:
        parts += _curve(curve, x, y)
    full = [c for c in curves if not c.faint]
    wanted = [y(c.points[-1][1]) for c in full] + [y(level.y) for level in levels]
    found = apart(wanted, 16)
    for curve, at in zip(full, found[: len(full)], strict=True):
        parts.append(chip(right + 14, at, curve.mark))
    for name, at in zip(names, found[len(full) :], strict=True):
        parts.append(text(right + 4, at + 4, name, "note"))
    told = "; ".join(
        f"{c.mark.letter} {c.mark.name}, {c.what}: from {c.points[0][1]:.3f} at "
        f"{short(c.points[0][0])} to {c.points[-1][1]:.3f} at {short(c.points[-1][0])}"
        for c in curves
    )
    beside = f" Dashed: {', '.join(names)}." if names else ""
    return picture(WIDTH, HEIGHT, f"{x_words} across, {y_words} upwards. {told}.{beside}", parts)


def apart(places: Sequence[float], gap: float) -> list[float]:
    """Move places as little as this simple way can, downwards, until none is nearer than a gap."""
    out = list(places)
    last = -gap
    for i in sorted(range(len(places)), key=places.__getitem__):
        out[i] = last = max(places[i], last + gap)
    return out


def _curve(curve: Curve, x: Scale, y: Scale) -> list[str]:
    places = [(x(a), y(b)) for a, b in curve.points]
    css = f"curve {curve.mark.css}" + (" faint" if curve.faint else "")
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    parts = [element("polyline", {"points": path, "class": css})]
    if not curve.faint:
        parts += [
            element("circle", {"cx": a, "cy": b, "r": 3, "class": f"dot {curve.mark.css}"})
            for a, b in places
        ]
    return parts


def _overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
