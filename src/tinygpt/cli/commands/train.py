"""`tinygpt train`: a new model from a text, or a known one trained further."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinygpt.cli import console, options, shared_options
from tinygpt.config.engine_options import EngineOptions
from tinygpt.config.model_config import PRESETS, ModelConfig
from tinygpt.config.train_config import CorpusConfig, OptimConfig, TokenizerConfig, TrainConfig

if TYPE_CHECKING:
    from tinygpt.data.corpora import Corpus
    from tinygpt.inference.language_model import LanguageModel
    from tinygpt.progress import Tell
    from tinygpt.runs.run_file import RunFile

__all__ = ["command"]

DEFAULT_MINUTES = 1.0
DEFAULT_VOCAB_SIZE = 1024
"""Of a BPE that is trained on the corpus."""


@click.command(cls=options.Verb)
@click.option(
    "--config",
    metavar="RUN|FILE.toml",
    type=options.PLACE,
    help="Settings from a TOML file, or those of an earlier run, which is then repeated. "
    "Flags go before the file.",
)
@click.option("--from", "start", metavar="MODEL", type=options.MODEL, help="Fine-tune this model.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the run; must not exist.  [default: the next free runs/run-NNN]",
)
@click.option(
    "--dropout",
    type=click.FLOAT,
    metavar="P",
    help="Sets --resid-pdrop, --embd-pdrop and --attn-pdrop.",
)
@options.add(
    CorpusConfig,
    TokenizerConfig,
    TrainConfig,
    OptimConfig,
    ModelConfig,
    without=("sha256", "bos_token_id", "eos_token_id"),
    defaults=(
        replace(PRESETS["tinygpt"], vocab_size=DEFAULT_VOCAB_SIZE),
        TrainConfig(minutes=DEFAULT_MINUTES),
    ),
)
@shared_options.engine("engine", "device", "dtype", "threads", "allow_pickle")
@shared_options.options("quiet")
@click.pass_obj
def command(
    started_s: float | None,
    flags: options.Flags,
    config: str | None,
    start: str | None,
    out: Path | None,
    dropout: float | None,
    engine_options: EngineOptions,
    quiet: bool,
) -> int:
    """Train a new model, or fine-tune one (--from). Without a budget it takes one minute.

    The run folder is a model folder: sample, evaluate, compare and transformers open it.
    """
    from tinygpt.cli.progress import working
    from tinygpt.inference.device import differences, environment, pick_as_recorded
    from tinygpt.runs.folder import refuse_existing
    from tinygpt.runs.names import next_run
    from tinygpt.training.native_step import engine_as_recorded, training_engine

    settings = _settings(flags, config, start, dropout)
    _check(settings)
    folder = next_run() if out is None else out
    refuse_existing(folder)
    with working(quiet) as tell:
        corpus = _corpus(settings, tell)
    where = pick_as_recorded(
        settings.environment, engine_options.device, engine_options.dtype, engine_options.threads
    )
    lm = None
    if settings.start is not None:
        from tinygpt.inference.load import load_with

        on_cpu = EngineOptions(
            engine="torch", device="cpu", allow_pickle=engine_options.allow_pickle
        )
        lm = load_with(settings.start, on_cpu)
    model_config = _model_config(settings, corpus, lm)
    train_config = _train_config(settings)
    engine = engine_as_recorded(settings.environment, engine_options.engine)
    steps_by, why = training_engine(model_config, train_config, where, engine)
    if engine != engine_options.engine:
        why = "as the run began"

    def announce() -> None:
        if settings.environment:
            now = environment(where) | {"engine": steps_by}
            for line in differences(settings.environment, now):
                console.say(line, quiet=quiet)
        told = f"{where.why}; steps by {steps_by} ({why})"
        _announce(corpus, model_config, train_config, folder, lm, told, quiet)

    from tinygpt.cli.follow import follow
    from tinygpt.training.train import train

    ended = follow(
        lambda stop, tell: train(
            model_config,
            train_config,
            corpus,
            optim_config=_optim_config(settings),
            tokenizer_config=None if lm else TokenizerConfig(**settings.tokenizer),
            generation_config=settings.generation_config,
            out=folder,
            start=lm,
            start_sha256=settings.start_sha256,
            device=str(where.device),
            dtype=str(where.dtype).removeprefix("torch."),
            threads=where.threads if settings.environment else engine_options.threads,
            engine=engine,
            started_s=started_s,
            stop=stop,
            progress=tell,
        ),
        quiet,
        announce,
    )
    if ended.exit_code == 0:
        _suggest(folder, corpus, quiet)
    return ended.exit_code


def _settings(
    flags: options.Flags, config: str | None, start: str | None, dropout: float | None
) -> "RunFile":
    """Lay the flags over the file."""
    from tinygpt.runs.run_file import RunFile, overlaid, read_run_file

    model = flags[ModelConfig]
    if dropout is not None:
        model = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), dropout) | model
    given = RunFile(
        model=model,
        tokenizer=flags[TokenizerConfig],
        corpus=flags[CorpusConfig],
        train=flags[TrainConfig],
        optim=flags[OptimConfig],
        start=start,
    )
    return overlaid(RunFile() if config is None else read_run_file(config), given)


def _check(settings: "RunFile") -> None:
    """Refuse impossible settings before anything is fetched."""
    _train_config(settings)
    _optim_config(settings)
    CorpusConfig(**settings.corpus)
    TokenizerConfig(**settings.tokenizer)
    if settings.start is None:
        roomy = {"vocab_size": PRESETS["gpt2"].vocab_size}  # it may follow from the tokenizer
        replace(PRESETS["tinygpt"], **roomy | settings.model)


def _train_config(settings: "RunFile") -> TrainConfig:
    config = TrainConfig(**settings.train)
    if config.minutes is None and config.max_steps is None:
        return replace(config, minutes=DEFAULT_MINUTES)
    return config


def _optim_config(settings: "RunFile") -> OptimConfig | None:
    """Return the settings; None, which lets the library choose, where none is given."""
    if not settings.optim:
        return None
    if settings.start is None:
        return OptimConfig(**settings.optim)
    from tinygpt.training.train import FINE_TUNING

    return OptimConfig(**FINE_TUNING | settings.optim)


def _corpus(settings: "RunFile", tell: "Tell") -> "Corpus":
    from tinygpt.data.corpora import load_corpus, load_default_corpus

    if not settings.corpus:
        return load_default_corpus()
    config = CorpusConfig(**settings.corpus)
    return load_corpus(config.corpus, sha256=config.sha256, progress=tell)


def _model_config(settings: "RunFile", corpus: "Corpus", lm: "LanguageModel | None") -> ModelConfig:
    """Return the architecture; what follows from the tokenizer is filled in."""
    if lm is not None:
        from tinygpt.model.external_config import gpt2_config

        return ModelConfig(**settings.model) if settings.model else gpt2_config(lm.config)
    from tinygpt.data.fit_tokenizer import settle

    kind = TokenizerConfig(**settings.tokenizer).tokenizer
    given = {"vocab_size": DEFAULT_VOCAB_SIZE} | settle(settings.model, kind, corpus)
    return replace(PRESETS["tinygpt"], **given)


def _announce(
    corpus: "Corpus",
    config: ModelConfig,
    train: TrainConfig,
    folder: Path,
    lm: "LanguageModel | None",
    where: str,
    quiet: bool,
) -> None:
    """Say what is about to happen."""
    from tinygpt.model.costs import n_params

    if corpus.note:
        console.say(corpus.note, quiet=quiet)
    budget = (
        f"{train.max_steps:,} steps"
        if train.max_steps is not None
        else f"{train.minutes:g} min from the start of the command to the final save"
    )
    n_windows = "" if train.batch_size is None and train.minutes else f"{train.windows} "
    batch = f"{n_windows}windows of {train.block_size} tokens"
    if train.gradient_accumulation_steps > 1:
        batch = f"{train.gradient_accumulation_steps} x {batch}"
    lines = {
        "corpus": f"{corpus.name}, {len(corpus.text):,} characters, {len(corpus.characters):,} "
        f"distinct, sha256 {corpus.sha256[:12]} ({corpus.source})",
        "model": f"{n_params(config):,} parameters, {config.n_layer} layers x {config.n_head} "
        f"heads, {config.n_embd} wide" + (f", fine-tuned from {lm.name}" if lm else ""),
        "tokens": f"vocabulary {config.vocab_size:,}, context {config.n_positions:,}",
        "device": where,
        "budget": f"{budget}; {batch} a step",
        "run": str(folder),
    }
    for name, value in lines.items():
        console.say(f"{name:7} {value}", quiet=quiet)


def _suggest(folder: Path, corpus: "Corpus", quiet: bool) -> None:
    run = console.word(str(folder))
    first = next((line for line in corpus.part(0, 10_000).splitlines() if line.strip()), "")[:40]
    prompt = console.word(first) if console.printable(first) == first else ""
    console.next_commands(
        f"tinygpt sample {run} {prompt}".rstrip(),
        f"tinygpt compare {run} distilgpt2",
        f"tinygpt serve {run}   # in a browser",
        quiet=quiet,
    )
