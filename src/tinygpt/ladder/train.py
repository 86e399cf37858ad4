"""The training of one rung: an ordinary run for each seed, and the ladder's text scored with it.

A run that was interrupted is gone on with; one that is complete is only scored.
"""

from dataclasses import replace
from pathlib import Path

from tinygpt.evaluation.result import Evaluation
from tinygpt.inference.language_model import LanguageModel
from tinygpt.inference.load import load
from tinygpt.ladder.context import LadderContext, Stopped
from tinygpt.ladder.cost import training_flops
from tinygpt.ladder.results import RungRun
from tinygpt.ladder.rung import Rung
from tinygpt.progress import Tell
from tinygpt.runs.checkpoint import load_newest
from tinygpt.runs.events import Saved, Step
from tinygpt.runs.folder import CHECKPOINTS
from tinygpt.runs.log import last_evaluation
from tinygpt.training.resume import resume
from tinygpt.training.train import train

__all__ = ["folder_of", "score", "train_rung"]


def train_rung(
    lm: LanguageModel,
    rung: Rung,
    number: int,
    steps: int | None,
    bytes_per_token: float,
    context: LadderContext,
    tell: Tell,
) -> tuple[tuple[RungRun, ...], list[Evaluation]]:
    """Train a run for each seed and score it.

    Args:
        lm: the rung's model before its training.
        rung: its settings.
        number: its place, from 1.
        steps: of each run; None where the minutes decide.
        bytes_per_token: of the training part.
        context: what all rungs are measured with.
        tell: told what is being done.

    Raises:
        ConfigError: a loss is not finite, or the minutes are too few.
        Stopped: the run in hand is saved.
    """
    runs, evaluations = [], []
    for seed in range(context.n_seeds):
        folder = folder_of(rung, number, seed, context)
        _one_run(lm, rung, seed, steps, folder, context, tell)
        trained = load(
            folder,
            engine="torch",
            device=str(context.device.device),
            threads=context.device.threads,
        )
        found = score(trained, context, tell)
        last = last_evaluation(folder)
        assert last is not None  # the run is complete
        runs.append(
            RungRun(
                folder=folder.name,
                seed=seed,
                steps=last["step"],
                train_bytes=round(last["tokens"] * bytes_per_token),
                training_flops=last["step"] * training_flops(rung.model, rung.train),
                elapsed_s=last["elapsed_s"],
                val_loss=last["val_loss"],
                bits_per_byte=found.bits_per_byte,
            )
        )
        evaluations.append(found)
    return tuple(runs), evaluations


def _one_run(
    lm: LanguageModel,
    rung: Rung,
    seed: int,
    steps: int | None,
    folder: Path,
    context: LadderContext,
    tell: Tell,
) -> None:
    """Train a run to its end, from where it is."""
    picked = context.device
    doing = "training" if context.n_seeds == 1 else f"training, seed {seed}"
    tell(doing, 0.0)
    if folder.exists():
        checkpoint, _ = load_newest(folder / CHECKPOINTS)
        if checkpoint.state["finished"]:
            return
        events = resume(folder, corpus=context.corpus, clock=context.clock, stop=context.stop)
    else:
        minutes = context.allowance.minutes if steps is None else None
        events = train(
            None if rung.start else rung.model,
            replace(rung.train, minutes=minutes, max_steps=steps, seed=seed),
            context.corpus,
            optim_config=rung.optim,
            tokenizer_config=None if rung.start else rung.tokenizer,
            out=folder,
            start=lm if rung.start else None,
            device=str(picked.device),
            dtype=str(picked.dtype).removeprefix("torch."),
            threads=picked.threads,
            clock=context.clock,
            stop=context.stop,
            progress=lambda *_: context.check(),
        )
    for event in events:
        if isinstance(event, Step):
            tell(doing, event.progress)
        elif isinstance(event, Saved) and event.reason == "interrupted":
            raise Stopped


def score(lm: LanguageModel, context: LadderContext, tell: Tell) -> Evaluation:
    """Score the ladder's text; unknown characters are paid for as in a comparison."""

    def check(share: float) -> None:
        context.check()
        tell("scoring", share)

    text = context.text
    return lm.evaluate(text.text, prefix=text.prefix, escape=lm.escape, progress=check)


def folder_of(rung: Rung, number: int, seed: int, context: LadderContext) -> Path:
    """Return the run folder of a rung."""
    name = f"{number:02d}-{rung.name}"
    return context.folder / (name if context.n_seeds == 1 else f"{name}-seed{seed}")
