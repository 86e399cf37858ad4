"""The error tree: everything tinygpt refuses, and whose turn it is to mend it.

Every message is one line that says what was given, what is allowed and what to do next.

    TinyGPTError
      ConfigError      (ValueError)  a setting is impossible or unknown
      TokenizerError   (ValueError)  text or an id that the tokenizer can't represent
      ContextError     (ValueError)  more tokens than n_positions
      CheckpointError  (OSError)     a model folder misses a file, or its contents disagree
      DataError        (ValueError)  a text too short, empty, not UTF-8 ...
      MachineError     (OSError)     the network, the disk or the memory failed

`exit_code` is what the command line ends with: 2 for what the user can mend in the call or the
input, 1 for the machine.
"""

import difflib
from collections.abc import Iterable

__all__ = [
    "CheckpointError",
    "ConfigError",
    "ContextError",
    "DataError",
    "MachineError",
    "TinyGPTError",
    "TokenizerError",
    "did_you_mean",
]


_LONGEST_WORD = 100


class TinyGPTError(Exception):
    """Anything tinygpt refuses; the message is one line for the user."""

    exit_code = 2


class ConfigError(TinyGPTError, ValueError):
    """A setting is impossible or unknown."""


class TokenizerError(TinyGPTError, ValueError):
    """Text or an id that the tokenizer can't represent (the message names it)."""


class ContextError(TinyGPTError, ValueError):
    """More tokens than the architecture has positions."""


class CheckpointError(TinyGPTError, OSError):
    """A model folder misses a file, or its contents disagree with each other."""


class DataError(TinyGPTError, ValueError):
    """A text that can't be used: too short, empty, not UTF-8, changed since the run."""


class MachineError(TinyGPTError, OSError):
    """The network, the disk or the memory failed: nothing in the call can mend it."""

    exit_code = 1


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean "x"?` for the nearest known word, or an empty string.

    Example:
        >>> did_you_mean("n_heads", ["n_head", "n_layer"])
        '; did you mean "n_head"?'
    """
    # A hostile word may be a megabyte long, and is then near none of ours.
    near = difflib.get_close_matches(word[:_LONGEST_WORD], list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""
