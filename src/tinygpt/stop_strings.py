"""Stop strings: texts at which a generation ends, found wherever its pieces are cut."""

from dataclasses import dataclass

__all__ = ["StopStrings"]


@dataclass(slots=True)
class StopStrings:
    """Lets text through up to the stop string that ends first, however the text is cut."""

    stops: tuple[str, ...]
    held: str = ""
    found: bool = False

    def push(self, piece: str) -> str:
        """Take a piece; return what can't be part of a stop string any more."""
        self.held += piece
        ends = [(i + len(stop), i) for stop in self.stops if (i := self.held.find(stop)) >= 0]
        if ends:
            self.found = True
            certain, self.held = self.held[: min(ends)[1]], ""
            return certain
        keep = max(
            (
                n
                for stop in self.stops
                for n in range(1, min(len(stop), len(self.held) + 1))
                if self.held.endswith(stop[:n])
            ),
            default=0,
        )
        certain = self.held[: len(self.held) - keep]
        self.held = self.held[len(self.held) - keep :]
        return certain
