"""What the HTML pages share: templates that escape, and a policy that lets nothing else in."""

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from tinygpt.escape import printable, visible
from tinygpt.report.charts.palette import style_rules

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["Figure", "embedded", "file_text", "inline_hash", "page_style", "policy", "template"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture, its heading and what the reader should know of it."""

    title: str
    svg: str
    caption: str


@cache
def template(name: str) -> "Template":
    """Return a template of report/, such as lens/lens.html.

    `visible` and `printable` are filters in it. Every text is escaped on its way in, unless the
    template says `safe`.
    """
    import jinja2  # here, so that a table on the terminal does not pay for it

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(file_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}  # a page may hold many
    environment.filters.update(visible=visible, printable=printable)
    return environment.get_template(name)


def file_text(name: str) -> str:
    """Return a file of report/, such as lens/lens.css."""
    return resources.files("tinygpt.report").joinpath(name).read_text("utf-8")


def page_style() -> str:
    """Return the style sheet of the page about a Comparison or a Ladder."""
    return file_text("charts/base.css") + style_rules() + file_text("comparison/comparison.css")


def embedded(data: dict[str, Any]) -> str:
    r"""Return JSON for a script element: no character in it can end the element.

    All that is not ASCII is written as \u escapes, so that bidi characters rearrange no source.
    """
    written = json.dumps(data, allow_nan=False)
    for character in "<>&":
        written = written.replace(character, f"\\u{ord(character):04x}")
    return written


def policy(style: str, script: str | None = None) -> str:
    """Return a Content-Security-Policy that allows this style sheet and script and nothing else."""
    allowed = ["default-src 'none'", f"style-src '{inline_hash(style)}'"]
    if script is not None:
        allowed.append(f"script-src '{inline_hash(script)}'")
    return "; ".join([*allowed, "base-uri 'none'", "form-action 'none'"])


def inline_hash(text: str) -> str:
    """Return what a Content-Security-Policy calls an inline script or style sheet (in quotes)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
