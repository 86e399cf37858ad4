"""Train a new run: everything that comes before the first step, then the loop (loop.py).

A run with max_steps repeats and resumes bit for bit on a CPU with the same torch, precision, engine
and number of threads: initial weights, windows and dropout are pure functions of (seed, step,
micro-batch), and the learning rate is one of the step. A run with minutes ends when it said it
would; its learning rate follows the clock.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.model_config import ModelConfig
from tinygpt.config.train_config import CorpusConfig, OptimConfig, TokenizerConfig, TrainConfig
from tinygpt.data.batches import Data, prepare, with_monitor
from tinygpt.data.corpora import Corpus, load_corpus
from tinygpt.data.fit_tokenizer import make_tokenizer
from tinygpt.errors import CheckpointError, ConfigError
from tinygpt.formats.weights import weights_sha256
from tinygpt.inference.device import Device, environment, pick_device
from tinygpt.inference.language_model import LanguageModel
from tinygpt.model.external_config import gpt2_config
from tinygpt.progress import Tell
from tinygpt.runs.events import Event, Saved
from tinygpt.runs.folder import Recipe, create, refuse_existing
from tinygpt.runs.names import next_run
from tinygpt.tokenizers.char_byte import Tokenizer
from tinygpt.training.budget import Budget
from tinygpt.training.learner import Learner, new_model, trainable
from tinygpt.training.loop import run_loop, save_checkpoint
from tinygpt.training.pacing import batch_for, fastest, thread_counts
from tinygpt.training.state import Run
from tinygpt.training.validate import prompts
from tinygpt.version import __version__

__all__ = ["train"]

FINE_TUNING: dict[str, Any] = {"optimizer": "adamw", "learning_rate": 5e-5}
"""What a model that is trained already is trained further with, unless settings are given."""

_MOST_FOR_PACING = 0.02  # of the minutes


def train(
    model_config: ModelConfig | None,
    train_config: TrainConfig,
    corpus: Corpus | CorpusConfig,
    *,
    optim_config: OptimConfig | None = None,
    tokenizer_config: TokenizerConfig | None = None,
    generation_config: GenerationConfig | None = None,
    out: Path | str | None = None,
    start: LanguageModel | None = None,
    start_sha256: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    threads: int = 0,
    engine: str = "auto",
    clock: Callable[[], float] = time.monotonic,
    started_s: float | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Tell | None = None,
) -> Iterator[Event]:
    """Train a model in a new run folder.

    What can be refused is refused by this call; the folder appears with the first event.

    Args:
        model_config: the architecture; None with `start`, whose architecture is kept.
        train_config: with either minutes or max_steps.
        corpus: a text, or the name of one.
        optim_config: None takes the defaults, with a learning rate of 5e-5 for fine-tuning.
        tokenizer_config: of a new model; with `start` its tokenizer is kept.
        generation_config: how the model samples by default; None takes the defaults, with `start`
            those of that model. bos and eos come from the architecture.
        out: the run folder; None takes the next free runs/run-NNN.
        start: a model to fine-tune.
        start_sha256: what its weights must hash to (`weights_sha256`); None takes any.
        device, dtype, threads: as `pick_device`.
        engine: what computes the steps, see `training_engine`.
        clock: seconds; tests inject it.
        started_s: its reading when the verb began; None means now.
        stop: asked often; once it says True the run saves and ends.
        progress: told how far a large corpus is read and encoded, before the first event.

    Yields:
        Saved (step 0), then Step, Evaluated, Sampled and Saved; the last one is Saved with
        final=True, or reason "interrupted".

    Raises:
        ConfigError: impossible or contradictory settings, or `out` exists; while training: the
            loss is not finite.
        CheckpointError: weights of `start` that are not those expected.
        DataError: a corpus too short for one window.
        TokenizerError: a character of the corpus or of a sample prompt that the tokenizer lacks.
        ContextError: a sample prompt longer than the context.
        MachineError: the disk refused.
    """
    started_s = clock() if started_s is None else started_s
    if train_config.minutes is None and train_config.max_steps is None:
        raise ConfigError("no budget: give minutes or max_steps")
    text = (
        load_corpus(corpus.corpus, sha256=corpus.sha256, progress=progress)
        if isinstance(corpus, CorpusConfig)
        else corpus
    )
    budget = Budget(train_config, clock, started_s)
    tell = _within(budget, progress)
    config, tokenizer = _model_and_tokenizer(model_config, tokenizer_config, start, text, tell)
    if train_config.block_size > config.n_positions:
        raise ConfigError(
            f"block_size={train_config.block_size} is longer than the model's n_positions="
            f"{config.n_positions}; choose a block_size of at most {config.n_positions}"
        )
    if optim_config is None:
        optim_config = OptimConfig() if start is None else OptimConfig(**FINE_TUNING)
    folder = next_run() if out is None else Path(out)
    refuse_existing(folder)
    picked = pick_device(device, dtype, threads)
    start_sha256 = _checked_start(start, start_sha256)
    data = prepare(text, tokenizer, train_config.block_size, tell)
    if train_config.monitored:
        data = with_monitor(data, train_config.block_size)
    if start is None:
        model = new_model(config, train_config.seed, zero_init=train_config.zero_init)
    else:
        model = trainable(config, start.model.state_dict())
    learner = Learner(model, optim_config, picked, train_config, engine)
    note = None
    if train_config.minutes is not None:
        train_config, picked, note = _paced(learner, data, train_config, budget, threads, tell)
    train_config = replace(train_config, batch_size=train_config.windows)
    recipe = Recipe(
        train=train_config,
        optim=optim_config,
        corpus=CorpusConfig(corpus=str(text.path or text.name), sha256=text.sha256),
        tokenizer=TokenizerConfig(tokenizer=tokenizer.kind)
        if start is not None
        else tokenizer_config or TokenizerConfig(),
        start=None if start is None else _origin(start),
        start_sha256=start_sha256,
        data=data.counts,
        version=__version__,
    )
    if generation_config is None:
        generation_config = GenerationConfig() if start is None else start.generation_config
    run = Run(
        folder=folder,
        recipe=recipe,
        data=data,
        tokenizer=tokenizer,
        learner=learner,
        budget=budget,
        stop=stop,
    )
    prompts(run)  # refuses those that the model can't take
    if run.budget.over():
        raise ConfigError(
            f"minutes={train_config.minutes} were over before the first step, after "
            f"{run.budget.elapsed_s:.1f} s; give more minutes"
        )
    recorded = {**environment(picked), "engine": learner.engine, "corpus_source": text.source}
    return _begin(run, generation_config, recorded, note)


def _paced(
    learner: Learner,
    data: Data,
    train: TrainConfig,
    budget: Budget,
    threads: int,
    tell: Tell,
) -> tuple[TrainConfig, Device, str]:
    """Choose what was not asked for, the CPU threads and the batch, by what the machine does now.

    Returns:
        The settings, the device, and a line that says what was chosen and why.
    """
    device, left_s = learner.device, budget.left_s(0)
    on_cpu, notes = device.device.type == "cpu", []
    counts = thread_counts(device.threads) if on_cpu and not threads else [device.threads]

    def work() -> None:
        tell("the first steps, for the clock", 0.0)
        learner.rehearse(data.train, train)

    if len(counts) > 1 or train.batch_size is None:
        n_tokens = train.windows * train.block_size
        best, took = fastest(counts, work, budget.now, _MOST_FOR_PACING * left_s)
        rates = {count: n_tokens / seconds for count, seconds in took.items() if seconds > 0}
        if len(rates) > 1:
            found = ", ".join(f"{rates[n]:,.0f} with {n}" for n in sorted(rates))
            notes.append(f"{best} CPU thread(s): tokens/s are {found}")
        device = replace(device, threads=best)
        if train.batch_size is None:
            expected = rates.get(best, 0.0) * left_s / train.gradient_accumulation_steps
            train = replace(train, batch_size=batch_for(expected, train.block_size))
            notes.append(
                f"{train.batch_size} window(s) a step, for about {expected:,.0f} tokens in all"
            )
    return train, device, "; ".join(notes)


def _origin(start: LanguageModel) -> str:
    """Return by what a fine-tuned model's start is found again, from wherever."""
    if start.path is None:
        return start.name
    if start.commit is None:
        return str(start.path.resolve())
    return f"{start.name.partition('@')[0]}@{start.commit}"


def _checked_start(start: LanguageModel | None, expected: str | None) -> str | None:
    if start is None or start.path is None:
        return None
    found = weights_sha256(start.path)
    if expected is not None and found != expected:
        raise CheckpointError(
            f"the weights of {start.name} have changed since: their sha256 is {found}, the run "
            f"began with {expected}; bring the old ones back, or name the model with --from"
        )
    return found


def _within(budget: Budget, progress: Tell | None) -> Tell:
    """Pass progress on, and end what takes longer than the minutes."""

    def tell(what: str, share: float) -> None:
        if progress is not None:
            progress(what, share)
        if budget.over():
            raise ConfigError(
                f"the minutes were over before the first step, at {share:.0%} of {what}; give more"
            )

    return tell


def _model_and_tokenizer(
    config: ModelConfig | None,
    tokenizer_config: TokenizerConfig | None,
    start: LanguageModel | None,
    corpus: Corpus,
    tell: Tell,
) -> tuple[ModelConfig, Tokenizer]:
    if start is not None:
        if config is not None and config != start.config:
            raise ConfigError(
                f"the architecture given is not that of {start.name}, which fine-tuning keeps; "
                "leave model_config out"
            )
        return gpt2_config(start.config), start.tokenizer
    if config is None:
        raise ConfigError("no architecture: give a model_config, or a model to start from")
    kind = (tokenizer_config or TokenizerConfig()).tokenizer
    tokenizer = make_tokenizer(kind, corpus, config.vocab_size, tell)
    if config.vocab_size != tokenizer.vocab_size:
        raise ConfigError(
            f"vocab_size={config.vocab_size}, but the tokenizer has {tokenizer.vocab_size} ids; "
            f"use dataclasses.replace(model_config, vocab_size={tokenizer.vocab_size})"
        )
    return config, tokenizer


def _begin(
    run: Run, generation_config: GenerationConfig, recorded: dict[str, Any], note: str | None
) -> Iterator[Event]:
    config = run.learner.model.config
    with ExitStack() as held:
        create(
            run.folder,
            config=config,
            generation_config=replace(
                generation_config,
                bos_token_id=config.bos_token_id,
                eos_token_id=config.eos_token_id,
            ),
            tokenizer=run.tokenizer,
            recipe=run.recipe,
            environment={
                **recorded,
                "seed": run.recipe.train.seed,
                "corpus_sha256": run.recipe.corpus.sha256,
            },
            first_checkpoint=lambda folder: save_checkpoint(folder, run),
            held=held,
        )
        event = Saved(
            step=0,
            tokens=0,
            elapsed_s=run.budget.elapsed_s,
            path=run.folder,
            final=False,
            reason="start",
            note=note,
        )
        yield from run_loop(run, event)
