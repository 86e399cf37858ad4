"""`tinygpt bench MODEL`: prefill and decode speed, memory, start-up of one model here.

Unless one engine is asked for, the others are measured too, each in a process of its own, so that
start and memory are its own: `tinygpt bench` calls itself.
"""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from tinygpt.cli import console, options, shared_options
from tinygpt.config.engine_options import EngineOptions
from tinygpt.config.limits import BENCH_BYTES, PRECISIONS
from tinygpt.errors import MachineError

if TYPE_CHECKING:
    from tinygpt.inference.language_model import LanguageModel

__all__ = ["command"]


@click.command(cls=options.Verb)
@click.argument("model", type=options.MODEL)
@shared_options.engine("engine", "precision", "device", "threads", "allow_pickle")
@shared_options.options("json", "quiet")
@click.pass_obj
def command(
    started_s: float,
    model: str,
    engine_options: EngineOptions,
    as_json: bool,
    quiet: bool,
) -> None:
    """Time MODEL on this machine: how fast it reads and writes, what it holds, how soon it starts.

    The text is Python's own documentation. Without --engine or --precision the engine that auto
    takes is shown in full, and beside it every other one that runs here: what each precision costs
    in bits per byte, and what it brings. A known model whose weights are not here is timed on
    random ones, and says so.
    """
    lm = _opened(model, engine_options)
    start_up_s = time.monotonic() - started_s
    from tinygpt.cli.progress import working
    from tinygpt.evaluation.eval_texts import known_to_all, python_docs
    from tinygpt.profiling.engine_profile import measure

    for note in lm.notes:
        console.say(note, quiet=quiet)
    text = known_to_all(python_docs().text[:4096], [lm.tokenizer])
    with working(quiet) as tell:
        tell(f"timing {lm.name}, {lm.engine.name} {lm.engine.precision}", 0.0)
        measured = measure(
            lm,
            text,
            start_up_s=start_up_s,
            reopen=lambda: _opened(model, engine_options),
            scored=python_docs(BENCH_BYTES),
        )
        result = _document(lm, dataclasses.asdict(measured))
        if lm.engine.name == "native" and not lm.engine.asked:
            given = ["--threads", str(engine_options.threads)]
            given += ["--allow-pickle"] if engine_options.allow_pickle else []
            offline = {} if lm.missing_weights is None else {"HF_HUB_OFFLINE": "1"}
            result["others"] = _others(model, given, os.environ | offline, tell)
    if as_json:
        console.json_document(result)
    else:
        from tinygpt.cli.bench_tables import renderables

        console.show(*renderables(result))
    console.next_commands(f"tinygpt inspect {console.word(model)}", quiet=quiet)


def _opened(model: str, engine_options: EngineOptions) -> "LanguageModel":
    """Open a model and a first session; on random weights where a known model's are not here."""
    from tinygpt.inference.load import load_with

    found: Any
    try:
        found = load_with(model, engine_options)
    except MachineError as error:
        from tinygpt.inference.load import Architecture, without_weights  # they need torch

        found = without_weights(model, error, engine_options)
        if isinstance(found, Architecture):
            raise MachineError(found.missing_weights) from None
    found.session()
    return found  # type: ignore[no-any-return]


def _document(lm: "LanguageModel", measured: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": lm.name,
        "path": None if lm.path is None else str(lm.path),
        "commit": lm.commit,
        "missing_weights": lm.missing_weights,
        "engine": str(lm.engine),
        **measured,
        "others": [],
    }


def _others(
    model: str, given: list[str], env: dict[str, str], tell: Callable[[str, float], None]
) -> list[dict[str, Any]]:
    """Measure what else runs here; what fails is a document with the reason as `error`."""
    ways = [*(("native", name) for name in PRECISIONS[1:]), ("torch", "exact")]
    found = []
    for i, (engine, precision) in enumerate(ways):
        tell(f"timing {engine}{' ' + precision if engine == 'native' else ''}", (1 + i) / 4)
        asked = ["--engine", engine, "--precision", precision, "--device", "cpu"]
        done = subprocess.run(
            [sys.executable, "-m", "tinygpt", "bench", *given, *asked, "--json", "-q", "--", model],
            capture_output=True,
            text=True,
            check=False,
            env=env,
        )
        if done.returncode == 0:
            found.append(json.loads(done.stdout))
        else:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            error = last.removeprefix("error: ")
            found.append({"engine": f"{engine} {precision}", "error": error})
    return found
