"""How a Lens is drawn: levels, the terminal with and without colours, the page."""

import base64
import dataclasses
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text as Line

from tinygpt.comparison.lens_result import Alternative, Lens, Token, View
from tinygpt.evaluation.result import Evaluation
from tinygpt.report.lens.cells import (
    DIFFERENCE_BOUNDS,
    SURPRISE_BOUNDS,
    bounds_text,
    difference_cells,
    glyph,
    notes,
    spaced,
    surprise_cells,
    telling,
)
from tinygpt.report.lens.colours import DARK, LIGHT, TERMINAL
from tinygpt.report.lens.html import lens_page
from tinygpt.report.lens.terminal import LensPicture

HOSTILE = "a\x1b[31m\u202e</pre></script><script>alert('x')</script>&\"[bold]"


def view(name: str, text: str, costs: list[tuple[str, float]], **changes) -> View:
    """A model that cuts the text into the given tokens and pays so many bits for each."""
    tokens, begin = [], 0
    for token, bits in costs:
        end = begin + len(token.encode())
        best = (
            Alternative(token="e <", probability=0.5),
            Alternative(token="\n", probability=0.01),
        )
        tokens.append(
            Token(token=token, begin=begin, end=end, bits=bits, rank=2, alternatives=best)
        )
        begin = end
    assert begin == len(text.encode())
    total = sum(bits for _, bits in costs)
    zeros = {f.name: 0 for f in dataclasses.fields(Evaluation)}
    zeros |= {"start": "", "sha256": "0" * 64, "n_bytes": begin, "n_tokens": len(tokens)}
    zeros |= {"bits_per_byte": total / begin, "n_characters": len(text), "total_nats": 1.0}
    return View(
        name=name,
        path=None,
        commit=None,
        tokenization="bpe",
        evaluation=Evaluation(**zeros | changes),
        tokens=tuple(tokens),
    )


def lens_of(*views: View, text: str, **changes) -> Lens:
    fields = {"name": "a text", "source": "here", "prefix_bytes": 3, "common_border": True}
    return Lens(tinygpt_version="0", text=text, views=views, **fields | changes)


@pytest.fixture
def pair() -> Lens:
    text = "the cat\n\nsat."
    costs = [("t", 6.0), ("h", 1.0), ("e", 0.2), (" ", 0.4), ("c", 5.0), ("a", 2.0), ("t", 1.0)]
    costs += [("\n", 12.0), ("\n", 0.1), ("s", 3.0), ("a", 1.0), ("t", 1.0), (".", 2.0)]
    words = [("the", 3.0), (" cat", 8.4), ("\n", 2.0), ("\n", 0.2), ("sat", 5.2), (".", 9.0)]
    return lens_of(view("one", text, costs), view("two", text, words), text=text)


def drawn(lens: Lens, *, colours: bool, width: int = 80) -> str:
    out = io.StringIO()
    system = "truecolor" if colours else None
    Console(file=out, width=width, force_terminal=colours, color_system=system).print(
        LensPicture(lens)
    )
    return out.getvalue()


class Page(HTMLParser):
    """Tags, attributes and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.pieces: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data) -> None:
        self.pieces.append(data)


# --- cells


def test_levels_follow_the_bits_of_a_character(pair) -> None:
    one, two = pair.views
    assert [cell.level for cell in surprise_cells(pair, one)][:9] == [6, 2, 0, 0, 5, 3, 2, 8, 0]
    assert [cell.level for cell in surprise_cells(pair, two)] == [2, 3, 3, 0, 2, 7]
    cells = [(cell.stretch.text, cell.level) for cell in difference_cells(pair)]
    assert cells == [("the", 2), (" cat", 0), ("\n", 4), ("\n", 0), ("sat", 0), (".", -4)]


def test_every_level_has_a_range_and_a_colour() -> None:
    assert bounds_text(DIFFERENCE_BOUNDS) == ["< 0.25", "0.25–1", "1–2", "2–4", "4+"]
    assert len(bounds_text(SURPRISE_BOUNDS)) == 9
    levels = {f"l{i}" for i in range(1, 9)} | {f"d{i}" for i in range(-4, 5) if i}
    assert set(LIGHT) == set(DARK) == levels
    assert levels - set(TERMINAL) == {"l1", "d1", "d-1"}


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("colours", [LIGHT, DARK, TERMINAL])
def test_text_is_readable_on_every_colour(colours) -> None:
    for level, (back, text) in colours.items():
        dark, light = sorted((luminance(back), luminance(text)))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, level


@pytest.mark.parametrize(("colours", "sign"), [(LIGHT, -1), (DARK, 1)])
def test_each_ramp_is_told_apart_by_lightness_alone(colours, sign) -> None:
    for ramp in ("l1 l2 l3 l4 l5 l6 l7 l8", "d1 d2 d3 d4", "d-1 d-2 d-3 d-4"):
        steps = [sign * luminance(colours[level][0]) for level in ramp.split()]
        assert steps == sorted(steps)


def test_the_most_telling_places_come_first(pair) -> None:
    assert [stretch.text for stretch in telling(pair)][:3] == ["\n", ".", "the"]
    alone = lens_of(pair.views[0], text=pair.text)
    assert [stretch.text for stretch in telling(alone)][:3] == ["\n", "t", "c"]


def test_notes_say_what_the_figures_rest_on(pair) -> None:
    odd = dataclasses.replace(
        pair.views[0],
        evaluation=dataclasses.replace(
            pair.views[0].evaluation, n_unknown=2, unknown_nats=0.25, start="a newline"
        ),
    )
    said = "\n".join(notes(lens_of(odd, text=pair.text, common_border=False)))
    for words in ("after 3 unscored bytes", "2 of 13 characters", "25% of the bits", "a newline"):
        assert words in said
    assert "begins where the text does" in said
    assert len(notes(pair)) == 1


def test_glyphs_are_safe_and_visible() -> None:
    assert [glyph(c) for c in "\n\ta\x1b\u202e\r"] == ["⏎", "→", "a", "\\x1b", "\\u202e", "\\r"]
    assert spaced(" a\n b") == "␣a⏎␣b"


# --- the terminal


def test_without_colours_the_bits_stand_below_the_text(pair) -> None:
    lines = drawn(pair, colours=False).split("\n")
    at = lines.index("   the cat⏎⏎")
    assert lines[at + 1 : at + 4] == ["A  6100521+0", "B  3..8...20", "±  B..    B "]
    at = lines.index("   sat.")
    assert lines[at + 1 : at + 4] == ["A  3112", "B  5..9", "±     A"]
    assert "\x1b" not in "".join(lines)
    assert any("one" in line and "2.6692" in line for line in lines)
    assert any("B - A" in line for line in lines)


def test_wide_and_invisible_characters_keep_the_columns() -> None:
    text = "猫e\u0301x"
    lens = lens_of(view("m", text, [(c, float(i)) for i, c in enumerate(text, 1)]), text=text)
    lines = drawn(lens, colours=False).split("\n")
    at = lines.index("   猫e\\u0301x")
    assert lines[at + 1] == "A  1.23.....4"
    assert cell_len(lines[at]) == len(lines[at + 1])


def test_long_lines_are_cut_at_the_width() -> None:
    text = "abcdefgh" * 4
    lens = lens_of(view("m", text, [(c, 1.0) for c in text]), text=text)
    lines = drawn(lens, colours=False, width=23).split("\n")
    assert lines.index("   abcdefghabcdefghabcd") < lines.index("   efghabcdefgh")


def test_with_colours_each_model_has_a_row_of_the_text(pair) -> None:
    out = drawn(pair, colours=True)
    shown = Line.from_ansi(out).plain.split("\n")
    at = shown.index("A  the cat⏎⏎")
    assert shown[at + 1 : at + 3] == ["B  the cat⏎⏎", "±  the cat⏎⏎"]

    console = Console(width=80, force_terminal=True, color_system="truecolor")
    painted = [(piece.text, str(piece.style)) for piece in console.render(LensPicture(pair))]

    def pieces(level: str, *texts: str) -> list[tuple[str, str]]:
        back, ink = TERMINAL[level]
        return [(text, f"{ink} on {back}") for text in texts]

    for wanted in (
        pieces("l6", "t") + pieces("l2", "h"),
        pieces("l3", " ", "c", "a", "t"),  # B's token of four characters
        pieces("d2", "t", "h", "e"),
        pieces("l8", " 11+ "),  # the legend
    ):
        assert any(painted[i : i + len(wanted)] == wanted for i in range(len(painted)))


@pytest.mark.parametrize("colours", [True, False])
def test_the_terminal_obeys_no_text(colours) -> None:
    lens = lens_of(view(HOSTILE, HOSTILE, [(HOSTILE, 9.0)]), text=HOSTILE, name=HOSTILE)
    out = drawn(lens, colours=colours)
    rest = re.sub(r"\x1b\[[0-9;]*m", "", out)
    assert "\x1b" not in rest
    assert "\x1b[31m" not in out
    assert "\u202e" not in out
    assert "\\x1b[31m\\u202e" in rest
    assert "[bold]" in rest


# --- the page


def test_the_page_holds_text_totals_legend_and_numbers(pair) -> None:
    page = lens_page(pair)
    parsed = Page(page)
    pieces = "".join(parsed.pieces)
    for words in (
        "Where one and two are surprised",
        "2.6692",
        "-6.9",
        "0.25–1",
        "11+",
        "a text: 13",
    ):
        assert words in pieces
    assert page.count('<span class="l6">t</span>') == 1
    assert '<span class="d-4" id="d12">.</span>' in page
    numbers = json.loads(re.search(r'id="numbers">(.*?)</script>', page).group(1))
    assert "".join(numbers["glyphs"]) == "the␣cat⏎⏎sat."
    words = numbers["words"]
    assert sorted(words) == sorted({*"␣⏎.aceths", "e␣<", "the", "␣cat", "sat"})
    the, best, second = (words.index(word) for word in ("the", "e␣<", "⏎"))
    assert numbers["views"][1]["cells"][0] == [3, [[the, 3.0, 2, best, 500, second, 10]]]
    assert numbers["difference"][0] == [3, 7.2, 3.0]
    alone = lens_page(lens_of(pair.views[0], text=pair.text))
    assert "Where one is surprised" in alone
    assert "fieldset" not in Page(alone).tags


def test_the_page_asks_for_nothing_and_runs_nothing_else(pair) -> None:
    page = lens_page(pair)
    parsed = Page(page)
    assert not {"link", "img", "iframe", "object", "form"} & set(parsed.tags)
    names = {name for name, _ in parsed.attributes}
    assert not {name for name in names if name.startswith("on")} | {"src", "style"} & names
    assert {v for k, v in parsed.attributes if k == "href" and v} <= {
        f"#d{stretch.begin}" for stretch in pair.stretches()
    }
    assert "http:" not in page.replace("http-equiv", "")
    assert "https:" not in page
    policy = re.search(r'Policy" content="(.*?)"', page)
    assert policy is not None
    for tag in ("style", "script"):
        text = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        assert text is not None
        digest = base64.b64encode(hashlib.sha256(text.group(1).encode()).digest()).decode()
        assert f"{tag}-src &#39;sha256-{digest}&#39;" in policy.group(1)
    assert policy.group(1).startswith("default-src &#39;none&#39;")


def test_a_page_grows_by_little_for_each_token() -> None:
    """Each token once in colour and once in numbers, its likeliest by their place in a list."""
    words = [f"word{i % 50} " for i in range(2000)]
    views = [
        dataclasses.replace(
            found,
            tokens=tuple(
                dataclasses.replace(
                    token,
                    alternatives=tuple(
                        Alternative(token=words[i + k], probability=0.1234567) for k in range(5)
                    ),
                )
                for i, token in enumerate(found.tokens[:1990])
            )
            + found.tokens[1990:],
        )
        for found in (view(name, "".join(words), [(w, 3.21987) for w in words]) for name in "ab")
    ]
    page = lens_page(lens_of(*views, text="".join(words)))
    n_bytes = len(page) - len(lens_page(lens_of(view("a", "x", [("x", 1.0)]), text="x")))
    assert n_bytes < 2000 * (3 * 45 + 2 * 60 + 6 * 6)  # spans, numbers, glyphs and difference


def test_hostile_text_stays_text(pair) -> None:
    lens = lens_of(
        view(HOSTILE, HOSTILE, [(HOSTILE, 9.0)]),
        view("two", HOSTILE, [(c, 2.0) for c in HOSTILE]),
        text=HOSTILE,
        name=HOSTILE,
        source=HOSTILE,
    )
    page = lens_page(lens)
    assert "<script>alert" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert set(Page(page).tags) == set(Page(lens_page(pair)).tags)
    assert "</script><script>alert('x')" in "".join(Page(page).pieces)


# --- in a browser

ATTACKS = (
    "<script>alert(1)</script>",
    "</pre><img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "\"><iframe src='javascript:alert(1)'>",
    "'><b id=numbers>",
    "</script><script>alert(2)//",
    "<!--<script>",
    "]]><math><mtext>",
    "<style>*{display:none}</style>",
    "{{ 7*7 }}{% raw %}",
    "<a href='https://example.org'>x</a>",
    "<base href='https://example.org/'>",
    "<meta http-equiv=refresh content=0>",
    "<link rel=stylesheet href=x>",
    "<object data=x>",
    "<embed src=x>",
    "<form action=x><input autofocus onfocus=alert(1)>",
    "<video src=x onerror=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<template><script>alert(1)</script></template>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;img src=x&#62;",
    "javascript:alert(1)",
    "\u202e<b>\u2066",
    "\x00\x1b[31m<i>",
    "\u2028<u>\u2029",
    "</title></style></textarea><p>",
    "${alert(1)}`",
    "\\u003cscript\\u003e",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
)


def elements(page) -> set[str]:
    return set(page.evaluate("[...document.querySelectorAll('*')].map((e) => e.localName)"))


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser_it_answers_mouse_and_keyboard_and_stays_silent(
    pair, tmp_path, open_page, prints_whole, scheme
) -> None:
    path = tmp_path / "lens.html"
    path.write_text(lens_page(pair), "utf-8")
    for width in (390, 1024, 1600):
        page = open_page(path, width, scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        place = page.locator("#place")
        assert not place.is_visible()
        page.locator("#panel-a pre span").nth(4).hover()
        assert place.is_visible()
        assert "character 5 of 13" in place.inner_text()
        assert page.locator(".here").count() == 3  # the token in each panel
        page.keyboard.press("Escape")
        page.locator("#text").focus()
        page.keyboard.press("Home")
        page.keyboard.press("ArrowRight")
        assert "character 2 of 13" in place.inner_text()
        assert "bits" in page.locator("#spoken").text_content()
        page.keyboard.press("Escape")
        assert not place.is_visible()
    prints_whole(page)


@pytest.mark.slow
@pytest.mark.browser
def test_in_a_browser_thirty_attacks_create_no_element(pair, tmp_path, open_page) -> None:
    path = tmp_path / "lens.html"
    path.write_text(lens_page(pair), "utf-8")
    page = open_page(path, 1024, "light")
    page.locator("#text").focus()
    known = elements(page)
    assert len(ATTACKS) == 30
    for attack in (*ATTACKS, "\n".join(ATTACKS)):
        hostile = lens_of(
            view(attack, attack, [(attack, 9.0)]),
            view(f"{attack} too", attack, [(c, 2.0) for c in attack]),
            text=attack,
            name=attack,
            source=attack,
        )
        path.write_text(lens_page(hostile), "utf-8")
        page = open_page(path, 390, "light")
        page.locator("#text").focus()
        page.keyboard.press("ArrowRight")
        assert elements(page) <= known, attack
        assert page.evaluate("document.scripts.length") == 2, attack
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, attack
