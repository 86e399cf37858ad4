"""Any result drawn: a Comparison, a Lens or a Ladder as a page, as Markdown, for the terminal."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from rich.console import RenderableType

from tinygpt.comparison.lens_result import Lens
from tinygpt.comparison.result import Comparison
from tinygpt.errors import ConfigError
from tinygpt.ladder.results import Ladder
from tinygpt.report.comparison.html import comparison_page
from tinygpt.report.comparison.markdown import comparison_markdown
from tinygpt.report.comparison.terminal import comparison_renderable
from tinygpt.report.ladder.html import ladder_page
from tinygpt.report.ladder.markdown import ladder_markdown
from tinygpt.report.ladder.terminal import LadderPicture
from tinygpt.report.lens.html import lens_page
from tinygpt.report.lens.terminal import LensPicture
from tinygpt.storage.files import write_file

__all__ = ["to_html", "to_markdown", "to_terminal", "write_html"]

_Drawn = TypeVar("_Drawn")
_Forms = Mapping[type, Callable[[Any], _Drawn]]

_PAGES: _Forms[str] = {Comparison: comparison_page, Lens: lens_page, Ladder: ladder_page}
_MARKDOWN: _Forms[str] = {Comparison: comparison_markdown, Ladder: ladder_markdown}
_TERMINAL: _Forms[RenderableType] = {
    Comparison: comparison_renderable,
    Lens: LensPicture,
    Ladder: LadderPicture,
}


def write_html(result: Comparison | Lens | Ladder, path: Path | str) -> None:
    """Write a result as one self-contained HTML page.

    Raises:
        ConfigError: it is not a Comparison, a Lens or a Ladder, or `path` names no file.
        MachineError: the disk refused.
    """
    if not Path(path).name:
        raise ConfigError(f"{str(path)!r} names no file; give one, such as report.html")
    write_file(Path(path), to_html(result).encode())


def to_html(result: Comparison | Lens | Ladder) -> str:
    """Return the page that `write_html` writes; ConfigError for anything else."""
    return _draw(result, "as a page", _PAGES)


def to_markdown(result: Comparison | Ladder) -> str:
    """Return Markdown that reads well on a forge; ConfigError for anything else."""
    return _draw(result, "as Markdown", _MARKDOWN)


def to_terminal(result: Comparison | Lens | Ladder) -> RenderableType:
    """Return what a rich console prints, as wide as it is; ConfigError for anything else."""
    return _draw(result, "on a terminal", _TERMINAL)


def _draw(result: object, how: str, forms: _Forms[_Drawn]) -> _Drawn:
    draw = next((draw for kind, draw in forms.items() if isinstance(result, kind)), None)
    if draw is None:
        kinds = " or a ".join(kind.__name__ for kind in forms)
        raise ConfigError(f"{type(result).__name__} can't be drawn {how}: give a {kinds}")
    return draw(result)
