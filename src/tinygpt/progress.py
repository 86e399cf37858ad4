"""Progress of long work: `Tell` is told shares, and a part of the work scales its own."""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Progress", "Tell"]

Tell = Callable[[str, float], None]
"""Called with what is being done and the share of it that is done, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Reports progress; a `part` maps its own 0 to 1 to a range of the whole."""

    tell: Tell | None = None
    """Who is told; None for nobody."""
    begin: float = 0.0
    """Share of the whole that is done when this part begins."""
    width: float = 1.0
    """Share of the whole that this part is."""

    def __call__(self, what: str, share: float) -> None:
        """Tell what is being done, and the share of this part that is done."""
        if self.tell is not None:
            self.tell(what, self.begin + self.width * share)

    def part(self, begin: float, width: float) -> "Progress":
        """Return the Progress of a part that begins at share `begin` and covers `width`."""
        return Progress(self.tell, self.begin + self.width * begin, self.width * width)

    def named(self, what: str) -> Callable[[float], None]:
        """Return a callback that reports shares under a fixed name."""
        return lambda share: self(what, share)
