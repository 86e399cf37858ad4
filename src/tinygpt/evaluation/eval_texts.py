"""Texts made ready for scoring: the scored bytes and the unscored prefix that stands before them.

One rule for every verb (docs/measuring.md): before the held-out part of a corpus stands the end of
its training part; of a text of one's own the first line, at most 256 bytes, is the prefix.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tinygpt.config.schema import from_dict
from tinygpt.config.train_config import CorpusConfig
from tinygpt.data.batches import training_characters
from tinygpt.data.corpora import Corpus, load_corpus
from tinygpt.errors import CheckpointError, ConfigError, DataError
from tinygpt.formats.model_folder import read_training
from tinygpt.tokenizers.char_byte import CharTokenizer, Tokenizer

__all__ = [
    "Text",
    "escape_probability",
    "first_bytes",
    "held_out_part",
    "held_out_text",
    "known_to_all",
    "own_text",
    "python_docs",
    "run_corpus",
    "text_file",
]

FIRST_LINE_BYTES = 256
"""Longest prefix that is taken from a text of one's own."""

HELD_OUT_PREFIX_BYTES = 8192
"""Prefix of a held-out part: more than a context of 1024 BPE tokens holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text to score."""

    name: str
    """What reports call it."""
    text: str
    """What is scored."""
    prefix: str
    """What is shown before it and not scored; may be empty."""
    source: str
    """One line: where it came from."""
    rest: str = ""
    """What follows the scored text: there for a border that has to move on (boundary.py)."""
    public: bool = False
    """Of a named corpus, which models trained on web text have probably seen."""

    @property
    def described(self) -> str:
        """Say where it came from and, unless all of it is scored, how much is."""
        if not self.rest:
            return self.source
        n, total = len(self.text.encode()), len((self.text + self.rest).encode())
        return f"{self.source}; the first {n:,} of {total:,} bytes"


def own_text(
    text: str,
    n_bytes: int | None = None,
    *,
    name: str = "text",
    source: str = "a text of your own",
    public: bool = False,
) -> Text:
    """Prepare a text: its first line becomes the prefix, unless nothing would be left to score.

    Args:
        text: the whole text.
        n_bytes: score at most so many UTF-8 bytes, whole characters only; None scores all.
        name, source, public: for the reports.

    Raises:
        DataError: an empty text.
        ConfigError: n_bytes that leaves nothing.
    """
    if not text:
        raise DataError(f"{name}: the text to score is empty")
    line, newline, _ = text.partition("\n")
    prefix = first_bytes(line + newline, FIRST_LINE_BYTES)
    if len(prefix) == len(text):
        prefix = ""
    return _cut(
        Text(name=name, text=text[len(prefix) :], prefix=prefix, source=source, public=public),
        n_bytes,
    )


def text_file(path: str | Path, n_bytes: int | None = None) -> Text:
    """Prepare a UTF-8 file (or a folder of them, or a named corpus) as `own_text` does.

    Raises:
        DataError: no such file, or not a text.
        MachineError: the file can't be read now.
    """
    corpus = load_corpus(str(path))
    return own_text(
        corpus.part(0), n_bytes, name=corpus.title, source=corpus.source, public=corpus.public
    )


def python_docs(n_bytes: int | None = None) -> Text:
    """Prepare the text that every machine has: the prose of Python's own documentation."""
    return text_file("python-docs", n_bytes)


def held_out_text(run: Path, n_bytes: int | None = None) -> Text:
    """Prepare the part of a run's corpus that it was not trained on.

    Args:
        run: the run folder; its training.json names the corpus and its hash.
        n_bytes: score at most so many UTF-8 bytes, whole characters only; None scores all.

    Raises:
        CheckpointError: not a run folder.
        DataError: the corpus is not what it was, or is gone.
        MachineError: the corpus can't be fetched now.
        ConfigError: n_bytes that leaves nothing.
    """
    if not (run / "training.json").is_file():
        raise CheckpointError(
            f"{run} is no run folder (no training.json), so it has no held-out text; "
            "give a text with --text"
        )
    try:
        corpus = run_corpus(run)
    except DataError as error:
        raise DataError(f"{run}: its held-out text can't be had: {error}; or give --text") from None
    return held_out_part(corpus, n_bytes)


def run_corpus(run: Path) -> Corpus:
    """Load what a run was trained on, as its training.json names it.

    Raises:
        CheckpointError: it names none.
        DataError: the corpus is not what it was, or is gone.
        MachineError: the corpus can't be had now.
    """
    where = run / "training.json"
    table = read_training(run).get("corpus") or {}
    if not table.get("sha256"):
        raise CheckpointError(
            f"{where} does not say which corpus the run was trained on; give a text with --text"
        )
    config = from_dict(CorpusConfig, table, f"{where}: corpus")
    return load_corpus(config.corpus, sha256=config.sha256)


def held_out_part(corpus: Corpus, n_bytes: int | None = None) -> Text:
    """Prepare the part of a corpus that nothing is trained on.

    Raises:
        ConfigError: n_bytes that leaves nothing.
    """
    n = training_characters(len(corpus.text))
    before = corpus.part(max(0, n - HELD_OUT_PREFIX_BYTES), n)
    prefix = _last_bytes(before, HELD_OUT_PREFIX_BYTES)
    source = f"held-out part (the last 10%) of {corpus.source}"
    held_out = corpus.part(n)
    return _cut(
        Text(name=corpus.title, text=held_out, prefix=prefix, source=source, public=corpus.public),
        n_bytes,
    )


def escape_probability(run: Path | None) -> float | None:
    """Return what the escape code of a run's model costs: 1 / (training characters + 1).

    None where the folder does not say how many there were.
    """
    if run is None:
        return None
    n = (read_training(run).get("data") or {}).get("n_train_characters")
    return 1 / (n + 1) if isinstance(n, int) and n > 0 else None


def _cut(whole: Text, n_bytes: int | None) -> Text:
    """Keep the first n_bytes of a text; the others become its rest."""
    if n_bytes is None:
        return whole
    if n_bytes < 1:
        raise ConfigError(f"bytes={n_bytes} is not allowed: at least 1, or all")
    scored = first_bytes(whole.text, n_bytes)
    if not scored:
        raise ConfigError(f"{whole.name}: its first character is longer than bytes={n_bytes}")
    return replace(whole, text=scored, rest=whole.text[len(scored) :])


def first_bytes(text: str, n: int) -> str:
    """Return the longest beginning of a text that takes at most n bytes."""
    return text[:n].encode()[:n].decode(errors="ignore")


def _last_bytes(text: str, n: int) -> str:
    return text[-n:].encode()[-n:].decode(errors="ignore")


def known_to_all(text: str, tokenizers: Sequence[Tokenizer]) -> str:
    """Return the text without the characters that some character model lacks (for timing)."""
    for tokenizer in tokenizers:
        if isinstance(tokenizer, CharTokenizer):
            mask = tokenizer.known_mask(text)
            text = "".join(c for c, known in zip(text, mask, strict=True) if known)
    return text
