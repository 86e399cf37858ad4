"""How far some work is: one type for everything that takes long."""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Progress", "Tell"]

Tell = Callable[[str, float], None]
"""Called with what is being done and the share of it that is done, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Passes progress on; a `part` of the work tells its own 0 to 1 as a share of the whole."""

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
        """Return the progress of a part, which begins at a share of this one and is so wide."""
        return Progress(self.tell, self.begin + self.width * begin, self.width * width)

    def named(self, what: str) -> Callable[[float], None]:
        """Return what tells shares of one piece of work by its name."""
        return lambda share: self(what, share)
