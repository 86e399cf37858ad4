"""Where models are surprised: a text scored token by token under one or two of them.

A token's bits are those that `evaluate` adds up, so the totals are the same.
"""

from collections.abc import Sequence
from pathlib import Path

from tinygpt.comparison.compare import default_texts
from tinygpt.comparison.lens_result import Lens
from tinygpt.comparison.surprisal import view
from tinygpt.config.limits import LENS_BYTES
from tinygpt.errors import ConfigError, MachineError
from tinygpt.evaluation.boundary import align
from tinygpt.evaluation.eval_texts import Text, own_text
from tinygpt.inference.language_model import LanguageModel
from tinygpt.inference.load import load
from tinygpt.progress import Progress, Tell
from tinygpt.tokenizers.char_byte import refuse_surrogates
from tinygpt.version import __version__

__all__ = ["look"]


def look(
    models: Sequence[LanguageModel | str | Path],
    text: Text | str | None = None,
    *,
    n_bytes: int | None = LENS_BYTES,
    context: int | None = None,
    stride: int | None = None,
    escape_unknown: bool | None = None,
    progress: Tell | None = None,
) -> Lens:
    """Score a text token by token under one or two models.

    With two, the border between prefix and text moves on as in a comparison (boundary.py).

    Args:
        models: opened ones, or anything that `load` opens.
        text: what to score; None takes the held-out part of the first run's corpus, or else
            python-docs. A str is a text of one's own, whose first line is the unscored prefix.
        n_bytes: how much of it; a Text is taken as it is.
        context, stride: as `evaluate`, for each model.
        escape_unknown: pay for characters outside a character model's vocabulary by the escape
            code; False refuses them. None pays with two models, as a comparison does, and refuses
            with one, as `evaluate` does.
        progress: told how far the work is.

    Raises:
        ConfigError: no model or more than two.
        MachineError: a model whose weights are random because the real ones are missing.
        TinyGPTError: a model that can't be opened or a text that can't be scored.
    """
    if not 1 <= len(models) <= 2:
        raise ConfigError(f"the lens takes one or two models, not {len(models)}")
    opened = [m if isinstance(m, LanguageModel) else load(m, engine="torch") for m in models]
    for lm in opened:
        if lm.missing_weights is not None:
            raise MachineError(f"{lm.name} has random weights: {lm.missing_weights}")
    if isinstance(text, str):
        refuse_surrogates(text)
        text = own_text(text, n_bytes)
    chosen = default_texts(opened, n_bytes)[0] if text is None else text
    common_border = True
    if len(opened) > 1:
        chosen, common_border = align(chosen, [lm.tokenizer for lm in opened])
    pays = len(opened) > 1 if escape_unknown is None else escape_unknown
    say = Progress(progress)
    views = []
    for i, lm in enumerate(opened):
        what = f"{lm.name} on {chosen.name}"
        say(what, i / len(opened))
        share = say.part(i / len(opened), 1 / len(opened)).named(what)
        views.append(view(lm, chosen, context, stride, pays, share))
    return Lens(
        tinygpt_version=__version__,
        name=chosen.name,
        source=chosen.described,
        text=chosen.text,
        prefix_bytes=len(chosen.prefix.encode()),
        common_border=common_border,
        views=tuple(views),
    )
