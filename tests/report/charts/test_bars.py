"""Bars: every word stays inside the picture."""

import re

from tinygpt.report.charts.bars import Bar, Group, bar_chart
from tinygpt.report.charts.palette import Mark
from tinygpt.report.charts.svg import CHARACTER, WIDTH

MARK = Mark("A", "m0", "a")


def test_a_yardstick_with_a_long_name_in_the_middle_is_not_cut() -> None:
    name = "a compressor with quite a long name"
    group = Group("text", [Bar(MARK, 4.0, "4.000")], [(name, 2.0), ("uniform", 6.0)])
    drawn = bar_chart([group], "bits")
    found = re.findall(r'x="([\d.]+)"[^>]*text-anchor="(\w+)">([^<]* \d\.000)<', drawn)
    assert {words for _, _, words in found} == {f"{name} 2.000", "uniform 6.000"}
    for x, anchor, words in found:
        wide = CHARACTER * len(words)
        left = float(x) - (wide if anchor == "end" else 0)
        assert -0.1 <= left <= WIDTH - wide + 0.1


def test_figures_are_drawn_over_the_lines_that_cross_them() -> None:
    drawn = bar_chart([Group("text", [Bar(MARK, 2.0, "2.000")], [("n-gram", 2.2)])], "bits")
    assert drawn.index('class="level"') < drawn.index(">2.000<")
