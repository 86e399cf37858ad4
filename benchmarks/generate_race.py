"""The race of generation: tinygpt against others, the same weights and prompts, two threads.

    python -m benchmarks.generate_race [--quick]     (make bench-generate)

Each contestant runs in an environment of its own under .venv-race-NAME/ (tinygpt, torch and
transformers share the project's), made when it is missing; llama.cpp is compiled there. In every
round each contestant gets a fresh process, one after the other; figures are medians of the rounds
with their range. What has been measured is kept in .race/ and not measured again, so a race that
was stopped goes on; delete the folder for a new one. Needs GPT-2's vocabulary (hub or index) and
two idle cores. It ends by writing its tables and its picture into docs/.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.readme_table import splice

ROOT = Path(__file__).parent.parent
WORK = ROOT / ".race"
PAGE, PICTURE = ROOT / "docs" / "measuring.md", ROOT / "docs" / "generate-race.svg"
README = ROOT / "README.md"
PEERS = str(Path(__file__).with_name("generate_peers.py"))

PACKAGES = {
    "ctranslate2": ["ctranslate2", "transformers<5"],
    "openvino": ["openvino-genai", "optimum-intel", "nncf", "transformers<5"],
    "llama_cpp": ["--no-binary", "llama-cpp-python", "llama-cpp-python==0.3.36", "numpy"],
}
"""Of each environment; torch, for conversion alone, is the project's."""

BIG = [
    ("tinygpt", "exact"),
    ("tinygpt", "int8"),
    ("tinygpt", "int8-dynamic"),
    ("tinygpt", "torch"),
    ("transformers", "float32"),
    ("ctranslate2", "float32"),
    ("ctranslate2", "int8"),
    ("openvino", "float32"),
    ("openvino", "int8"),
    ("llama_cpp", "F32"),
    ("llama_cpp", "Q8_0"),
]
SMALL = [*BIG[:5], ("tutorial", "float32")]
RACES = {"distilgpt2": BIG, "tinygpt": SMALL}
FLOAT = ("transformers float32", "ctranslate2 float32", "openvino float32", "llama_cpp F32")
BYTES = ("ctranslate2 int8", "openvino int8", "llama_cpp Q8_0")
CLAIMS = [  # (shape, figure, ours, the peers that hold the same precision)
    ("distilgpt2", "decode_1", "tinygpt exact", FLOAT),
    ("distilgpt2", "decode_1", "tinygpt int8", BYTES),
    ("distilgpt2", "decode_1", "tinygpt int8-dynamic", BYTES),
    ("distilgpt2", "decode_8", "tinygpt exact", FLOAT),
    ("distilgpt2", "decode_8", "tinygpt int8-dynamic", BYTES),
    ("distilgpt2", "prefill", "tinygpt exact", FLOAT),
    ("distilgpt2", "prefill", "tinygpt int8-dynamic", BYTES),
    ("distilgpt2", "first_s", "tinygpt exact", FLOAT),
    ("distilgpt2", "first_s", "tinygpt int8", BYTES),
    ("tinygpt", "decode_1", "tinygpt exact", ("transformers float32",)),
    ("tinygpt", "decode_1", "tinygpt exact", ("tutorial float32",)),
    ("tinygpt", "decode_1", "tinygpt exact", ("tinygpt torch",)),
]
COLUMNS = {
    "decode_1": "decode, batch 1",
    "decode_8": "batch 8",
    "prefill": "prefill 512",
    "first_s": "first token, s",
    "peak_bytes": "peak MiB",
}


def main() -> None:
    """Race both shapes, then write the tables and the picture."""
    quick = "--quick" in sys.argv[1:]
    found = {}
    for shape, contestants in RACES.items():
        folder = _model(shape)
        ready = [c for c in contestants if _prepared(*c, folder)]
        sizes = _sizes(shape, quick)
        for i in range(1 if quick else 5):
            for peer, precision in ready:
                _measured(shape, peer, precision, folder, sizes, i, quick)
        found[shape] = _results(shape, quick)
    if not quick:
        for path, text in ((PAGE, tables(found) + "\n\n" + ratios(found)), (README, ratios(found))):
            path.write_text(splice(path.read_text("utf-8"), "generate-race", text), "utf-8")
        PICTURE.write_text(picture(found["distilgpt2"]), "utf-8")
    print(f"{tables(found)}\n\n{ratios(found)}")


def ratios(found: dict[str, list[dict[str, Any]]]) -> str:
    """Return a Markdown table of each claim: ours against the best peer, round by round.

    The best peer is the one with the best median. A ratio above 1 says that ours is ahead, of
    seconds too.
    """
    lines = [
        f"Ratios of `make bench-generate`, {date.today()}, {os.cpu_count()} cores: the median of "
        "the rounds (lowest to highest).",
        "",
        "| shape | figure | ours | the best of the same precision | ratio |",
        "|---|---|---|---|---|",
    ]
    for shape, key, ours, peers in CLAIMS:
        own = _by_round(found.get(shape, []), ours, key)
        others = {peer: _by_round(found.get(shape, []), peer, key) for peer in peers}
        others = {peer: values for peer, values in others.items() if values.keys() & own.keys()}
        if not others:
            continue
        sign = 1 if key.endswith("_s") else -1  # of seconds the lowest is the best
        best = min(others, key=lambda peer: sign * statistics.median(others[peer].values()))
        shared = own.keys() & others[best].keys()
        each = sorted((own[i] / others[best][i]) ** -sign for i in shared)
        shown = f"{statistics.median(each):.2f} ({each[0]:.2f} to {each[-1]:.2f})"
        lines.append(f"| {shape} | {COLUMNS[key]} | {ours} | {best} | {shown} |")
    return "\n".join(lines)


def _by_round(rounds: list[dict[str, Any]], name: str, key: str) -> dict[int, float]:
    return {r["round"]: r[key] for r in _grouped(rounds).get(name, []) if key in r}


def tables(found: dict[str, list[dict[str, Any]]]) -> str:
    """Return a Markdown table for each shape: medians, ranges, and who writes the same ids.

    Args:
        found: by shape, what each round of each contestant gave.
    """
    lines = [f"Command: `make bench-generate`, {date.today()}, {os.cpu_count()} cores; tokens/s."]
    for shape, rounds in found.items():
        lines += ["", f"**{shape}'s shape**, random weights", ""]
        lines += [f"| engine | {' | '.join(COLUMNS.values())} | ids | setting |", "|---" * 8 + "|"]
        reference = next((r["ids"] for r in rounds if r["peer"] == "transformers"), None)
        for name, own in _grouped(rounds).items():
            cells = [_cell([r[key] for r in own if key in r], key) for key in COLUMNS]
            same = _agreement(own[0]["ids"], reference)
            lines.append(f"| {name} | {' | '.join(cells)} | {same} | {own[0]['setting']} |")
    return "\n".join(lines)


def picture(rounds: list[dict[str, Any]]) -> str:
    """Return an SVG of decode speed in a batch of 1, the fastest first."""
    rates = {
        name: statistics.median(r["decode_1"] for r in own)
        for name, own in _grouped(rounds).items()
    }
    ordered = sorted(rates.items(), key=lambda item: -item[1])
    rows = []
    for i, (name, rate) in enumerate(ordered):
        y, width, ours = 40 + 24 * i, 380 * rate / ordered[0][1], name.startswith("tinygpt")
        rows.append(
            f'<text x="190" y="{y + 13}" text-anchor="end">{name}</text>'
            f'<rect x="200" y="{y}" width="{width:.1f}" height="17" rx="2" '
            f'fill="{"#2f6fab" if ours else "#9aa1ad"}"/>'
            f'<text x="{206 + width:.1f}" y="{y + 13}">{rate:,.0f}</text>'
        )
    high = 52 + 24 * len(ordered)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="660" height="{high}" role="img" '
        'aria-label="Decode speed, tokens per second" font-family="sans-serif" font-size="13">\n'
        f'<rect width="660" height="{high}" fill="#ffffff"/>\n'
        '<text x="20" y="24">distilgpt2, batch 1: tokens per second, two threads</text>\n'
        + "\n".join(rows)
        + "\n</svg>\n"
    )


def _cell(values: list[float], key: str) -> str:
    if not values:
        return "-"
    scale, form = {"peak_bytes": (2**-20, ",.0f"), "first_s": (1, ".2f")}.get(key, (1, ",.0f"))
    low, middle, high = (
        format(v * scale, form) for v in (min(values), statistics.median(values), max(values))
    )
    return middle if low == high else f"{middle} ({low} to {high})"


def _agreement(ids: list[int], reference: list[int] | None) -> str:
    if reference is None:
        return "-"
    n = next((i for i, (a, b) in enumerate(zip(ids, reference, strict=True)) if a != b), len(ids))
    return "the same" if n == len(ids) else f"the first {n}"


def _grouped(rounds: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in rounds:
        groups.setdefault(f"{one['peer']} {one['precision']}", []).append(one)
    return groups


def _sizes(shape: str, quick: bool) -> dict[str, int]:
    if shape == "tinygpt":  # inside the window of 128
        return {"vocab_size": 65, "prompt": 8, "new": 110, "prefill": 0}
    return {"vocab_size": 50257, "prompt": 32, "new": 20 if quick else 200, "prefill": 512}


def _model(shape: str) -> Path:
    """Make the model folder: random weights, large enough that greedy text does not stand still."""
    import torch

    from tinygpt.config.model_config import PRESETS
    from tinygpt.formats.hub import gpt2_vocabulary
    from tinygpt.formats.weights import write_safetensors
    from tinygpt.model.gpt import GPT
    from tinygpt.model.hf_weights import to_hf
    from tinygpt.tokenizers.char_byte import CharTokenizer
    from tinygpt.tokenizers.load import load_tokenizer

    folder = WORK / shape
    if (folder / "tokenizer.json").exists():
        return folder
    config = replace(PRESETS[shape], bos_token_id=None, eos_token_id=None)
    state = GPT(config, torch.Generator().manual_seed(1234)).state_dict()
    for name, tensor in state.items():
        if tensor.ndim > 1 and name != "lm_head.weight":  # tied: it is wte
            tensor.mul_(2.0 if "wte" in name else 3.0)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.numpy() for name, tensor in to_hf(state, config).items()}
    write_safetensors(folder / "model.safetensors", tensors)
    data = config.to_dict() | {"n_ctx": config.n_positions}  # llama.cpp's own converter wants it
    (folder / "config.json").write_text(json.dumps(data), "utf-8")
    letters = "".join(map(chr, range(32, 32 + config.vocab_size)))
    big = shape == "distilgpt2"
    tokenizer = load_tokenizer(gpt2_vocabulary()) if big else CharTokenizer.from_text(letters)
    tokenizer.save(folder, config.n_positions)
    return folder


def _python(peer: str) -> Path:
    return ROOT / (f".venv-race-{peer}" if peer in PACKAGES else ".venv") / "bin" / "python"


def _prepared(peer: str, precision: str, folder: Path) -> bool:
    """Make the environment and convert the model, where that has not been done."""
    python, work = _python(peer), folder / f"{peer}-{precision}"
    if (work / ".ready").exists():
        return True
    nice = ["nice", "-n", "19"]
    try:
        if not python.exists():
            environment = python.parent.parent
            subprocess.run([sys.executable, "-m", "venv", environment], check=True)
            (site,) = environment.glob("lib/python*/site-packages")
            (shared,) = (ROOT / ".venv").glob("lib/python*/site-packages")
            (site / "torch-of-the-project.pth").write_text(f"{shared}\n", "utf-8")
            pip = [python, "-m", "pip", "install", "--quiet", *PACKAGES[peer]]
            env = os.environ | {"CMAKE_ARGS": "-DGGML_BLAS=OFF", "CMAKE_BUILD_PARALLEL_LEVEL": "1"}
            subprocess.run([*nice, *pip], check=True, env=env)
        if peer == "llama_cpp" and not (folder / "model.gguf").exists():
            convert = ["convert", folder, "--out", folder / "model.gguf"]
            subprocess.run([sys.executable, "-m", "tinygpt", *convert], check=True)
        command = [python, PEERS, "prepare", peer, precision, folder, work]
        subprocess.run([*nice, *command], check=True)
    except subprocess.CalledProcessError as error:
        print(f"{peer} {precision} does not run: {error}", file=sys.stderr)
        return False
    (work / ".ready").touch()
    return True


def _measured(
    shape: str,
    peer: str,
    precision: str,
    folder: Path,
    sizes: dict[str, int],
    i: int,
    quick: bool,
) -> None:
    """Measure one round of one contestant, unless that has been done."""
    path = WORK / f"{shape}{'-quick' if quick else ''}.jsonl"
    key = {"peer": peer, "precision": precision, "round": i}
    if any(key.items() <= one.items() for one in _results(shape, quick)):
        return
    work = folder / f"{peer}-{precision}"
    common = [peer, precision, folder, work]
    command = [_python(peer), PEERS, "measure", *common, json.dumps(sizes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{peer} {precision} failed:\n{done.stderr}", file=sys.stderr)
        return
    began_s = time.perf_counter()
    with subprocess.Popen(
        [_python(peer), PEERS, "first", *common], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        while (line := process.stdout.readline()) and line.strip() != b"first":
            pass  # some libraries greet
        first_s = time.perf_counter() - began_s
    if not line:
        print(f"{peer} {precision} failed to start", file=sys.stderr)
        return
    found = key | json.loads(done.stdout.strip().splitlines()[-1]) | {"first_s": first_s}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(found) + "\n")
    print(f"{shape}, round {i + 1}: {peer} {precision}: {found['decode_1']:,.1f} tokens/s")


def _results(shape: str, quick: bool) -> list[dict[str, Any]]:
    path = WORK / f"{shape}{'-quick' if quick else ''}.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


if __name__ == "__main__":
    main()
