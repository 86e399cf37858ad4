"""Stop strings: texts at which a generation ends, found wherever its pieces are cut."""

from dataclasses import dataclass

from tinygpt.tokenizers.char_byte import TextStream, Tokenizer

__all__ = ["Continuation", "StopStrings"]


class Continuation:
    """The text of ids that come one by one, up to a stop string.

    Held back are bytes of an unfinished character and a tail that may be the start of a stop
    string; the stop string itself never comes out.
    """

    def __init__(self, tokenizer: Tokenizer, stops: tuple[str, ...]) -> None:
        self._text, self._stops = TextStream(tokenizer), StopStrings(stops)

    @property
    def stopped(self) -> bool:
        """Whether a stop string has come: nothing more is to be pushed."""
        return self._stops.found

    def push(self, new: int) -> str:
        """Take an id; return the text that is now certain."""
        return self._stops.push(self._text.push(new))

    def finish(self) -> str:
        """Return what was held back; the first bytes of a character become U+FFFD."""
        rest = "" if self.stopped else self._stops.push(self._text.finish())
        return rest + self._stops.held


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
