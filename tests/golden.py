"""Run this tree and an earlier commit side by side: what a refactoring must not change.

    python -m tests.golden [COMMIT]     # HEAD~1 unless given; from the root, with .venv's Python

Both trees train (native and torch, every tokenizer, with resume and fine-tuning), sample, score,
compare, climb a ladder and convert, by the command line and with --max-steps. Then every file and
every stdout is compared: bytes for weights, checkpoints, tokenizers, configs and GGUF; JSON without
what a clock measured; pages with their numbers masked. README.md and environment.json, which name
the version and the machine, are left out. Exit code 1 and one line per difference.
"""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PLACE = ROOT / ".golden"

SIZES = "--n-layer 2 --n-head 2 --n-embd 32 --n-positions 32 --block-size 32 --batch-size 4"
RUN = f"train --corpus text.txt {SIZES} --max-steps 12 --n-evals 2 --save-every 6 --threads 1"
STEPS = (
    f"{RUN} --out runs/native --engine native",
    f"{RUN} --out runs/torch --engine torch",
    f"{RUN} --out runs/adamw --optimizer adamw --dropout 0.1 --gradient-accumulation-steps 2",
    f"{RUN} --out runs/bpe --tokenizer bpe --vocab-size 280",
    f"{RUN} --out runs/byte --tokenizer byte --activation-function gelu --seed 7",
    "train --from runs/bpe --corpus other.txt --out runs/tuned --max-steps 4 --block-size 32 "
    "--batch-size 4 --threads 1",
    "train --config runs/native --out runs/repeated",
    "resume runs/interrupted --threads 1",
    "sample runs/native --seed 1 --max-new-tokens 80 --num-samples 2",
    "sample runs/native --seed 1 --max-new-tokens 80 --engine torch --temperature 0",
    "sample runs/bpe the --seed 3 --top-k 9 --top-p 0.9 --min-p 0.01 --repetition-penalty 1.2",
    "sample runs/bpe the --seed 3 --precision int8 --max-new-tokens 60 --stop e",
    "evaluate runs/native --json",
    "evaluate runs/bpe --text other.txt --json --engine torch",
    "compare runs/native runs/torch runs/bpe runs/byte distilgpt2 --bytes 4096 --json "
    "--html pages/comparison.html --markdown pages/comparison.md",
    "lens runs/native runs/bpe --text other.txt --bytes 600 --json --html pages/lens.html",
    "lens runs/byte --text other.txt --bytes 300",
    "ladder --rungs rungs.toml --corpus text.txt --max-steps 4 --out runs/ladder --threads 1 "
    "--bytes 2048 --json --html pages/ladder.html --markdown pages/ladder.md",
    "inspect runs/bpe --json",
    "inspect distilgpt2",
    "doctor mixed.json --write split",
    "doctor mixed.json --json",
    "corpus show text.txt --json",
    "convert runs/native --out native.gguf",
    "convert runs/bpe --out bpe.gguf",
    "convert runs/byte --out folder",
)

MIXED = {"vocab_size": 65, "block_size": 128, "n_layer": 4, "n_head": 4, "d_model": 128} | {
    "dropout": 0.1,
    "batch_size": 64,
    "learning_rate": 3e-4,
    "max_iters": 2000,
}
RUNGS = """\
[[rung]]
name = "narrow"
model = { n_layer = 1, n_head = 2, n_embd = 16, n_positions = 16 }
train = { block_size = 16, batch_size = 2 }

[[rung]]
name = "wider"
model = { n_embd = 32 }

[[rung]]
name = "bpe"
tokenizer = { tokenizer = "bpe" }
model = { vocab_size = 280 }
"""

LEFT_OUT = {"README.md", "environment.json", "run.lock"}
"""Files that name the version, the machine or the process."""
CLOCK = {"elapsed_s", "began_s", "created", "speed", "load_s", "pace"}
"""Keys of JSON whose values a clock decides."""
_NUMBER = re.compile(r"-?\d+(?:[,.]\d+)*(?:e-?\d+)?(?: [kMG]\b)?")


def main(commit: str) -> int:
    """Run both trees, print what differs, and return the exit code."""
    shutil.rmtree(PLACE / "runs", ignore_errors=True)
    sha = _git("rev-parse", "--verify", f"{commit}^{{commit}}")
    base = _built(sha)
    before, after = PLACE / "runs" / "before", PLACE / "runs" / "after"
    print(f"before: {sha[:10]}, after: this tree; {len(STEPS)} commands each", flush=True)
    for source, folder in ((base / "src", before), (ROOT / "src", after)):
        run_all(source, PLACE / "runs" / "work")  # one place for both: paths get into the files
        (PLACE / "runs" / "work").rename(folder)
    found = list(differences(before, after))
    n_files = sum(1 for _ in files(after))
    for line in found:
        print(f"differs: {line}")
    print(f"{n_files} files compared, {len(found)} differ")
    return int(bool(found))


def run_all(source: Path, folder: Path) -> None:
    """Run every command in a new folder with the package under `source`."""
    folder.mkdir(parents=True)
    _write_inputs(folder)
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("TINYGPT", "XDG", "HF"))}
    environ |= {"PYTHONPATH": str(source), "HF_HUB_OFFLINE": "1", "COLUMNS": "100"}
    environ |= {"XDG_CACHE_HOME": str(folder / "cache"), "HF_HOME": str(folder / "cache" / "hf")}
    for i, step in enumerate(STEPS):
        if step.startswith("resume"):
            _interrupt(folder / "runs" / "native", folder / "runs" / "interrupted")
        command = [sys.executable, "-m", "tinygpt", *step.split()]
        done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, check=False)
        assert done.returncode == 0, (step, done.stderr.decode())
        suffix = "json" if "--json" in step else "txt"
        (folder / f"{i:02}-{step.split()[0]}.{suffix}").write_bytes(done.stdout)
        print(f"  {i + 1} of {len(STEPS)}  {step[:90]}", file=sys.stderr, flush=True)
    shutil.rmtree(folder / "cache", ignore_errors=True)


def files(folder: Path) -> Iterator[Path]:
    """Yield the files that are compared, relative to the folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in LEFT_OUT:
            yield path.relative_to(folder)


def differences(before: Path, after: Path) -> Iterator[str]:
    """Yield a line per file that one side lacks or that is not the same on both."""
    ours, theirs = set(files(after)), set(files(before))
    for path in sorted(ours ^ theirs):
        yield f"{path}: only {'after' if path in ours else 'before'}"
    for path in sorted(ours & theirs):
        old, new = (comparable(folder / path) for folder in (before, after))
        if old != new:
            yield f"{path}: {_first_difference(old, new)}"


def comparable(path: Path) -> Any:
    """Return what of a file must stay the same."""
    data = path.read_bytes()
    match path.suffix:
        case ".json":
            plain = without_clock(json.loads(data))
            if path.name == "MANIFEST.json":  # the sum of a file that holds the elapsed time
                plain["files"].pop("state.json", None)
            return plain
        case ".jsonl":
            return [without_clock(json.loads(line)) for line in data.splitlines()]
        case ".html" | ".md":
            return _NUMBER.sub("#", data.decode()).splitlines()
        case _:
            return data


def without_clock(value: Any) -> Any:
    """Return JSON data without the keys of CLOCK, at any depth."""
    if isinstance(value, dict):
        return {k: without_clock(v) for k, v in value.items() if k not in CLOCK}
    return [without_clock(v) for v in value] if isinstance(value, list) else value


def _first_difference(old: Any, new: Any, where: str = "") -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            if key not in old or key not in new:
                return f"{where}.{key}: only {'after' if key in new else 'before'}"
            if old[key] != new[key]:
                return _first_difference(old[key], new[key], f"{where}.{key}")
    if isinstance(old, list) and isinstance(new, list):
        for i, (a, b) in enumerate(itertools.zip_longest(old, new)):
            if a != b:
                return _first_difference(a, b, f"{where}[{i}]")
    return f"{where} {str(old)[:200]!r} before, {str(new)[:200]!r} after"


def _write_inputs(folder: Path) -> None:
    """Write the texts, the rungs and the mixed config."""
    words = [
        "the",
        "cat",
        "sat",
        "on",
        "a",
        "mat;",
        "the",
        "dog",
        "–",
        "ran",
        "to",
        "it,",
        "and",
        "nobody",
        "said",
        "a",
        "word",
    ]
    lines = [" ".join(words[(i * i + j * 7) % len(words)] for j in range(9)) for i in range(900)]
    (folder / "text.txt").write_text("\n".join(lines), "utf-8")
    (folder / "other.txt").write_text("\n".join(lines[::-7]).replace("dog", "fox"), "utf-8")
    (folder / "rungs.toml").write_text(RUNGS, "utf-8")
    (folder / "mixed.json").write_text(json.dumps(MIXED), "utf-8")
    (folder / "pages").mkdir()


def _interrupt(run: Path, copy: Path) -> None:
    """Copy a run as if it had ended before its last checkpoint."""
    shutil.copytree(run, copy)
    last = sorted((copy / "checkpoints").iterdir())[-1]
    shutil.rmtree(last)


def _built(sha: str) -> Path:
    """Return a work tree of the commit with its native libraries."""
    tree = PLACE / sha[:10]
    if not tree.exists():
        _git("worktree", "prune")
        _git("worktree", "add", "--detach", str(tree), sha)
    if not list((tree / "src" / "tinygpt").rglob("*.so")):
        print(f"compiling the native engine of {sha[:10]}", file=sys.stderr, flush=True)
        build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
        subprocess.run(build, cwd=tree, check=True)
    return tree


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "HEAD~1"))
