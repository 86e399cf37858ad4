"""Small models and folders that many tests share. Nothing is downloaded."""

import json
import os
import re
import shutil
import string
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tinygpt.config.engine_options import EngineOptions
from tinygpt.config.model_config import ModelConfig

if TYPE_CHECKING:  # fixtures import what they need, so that tests without torch start fast
    import torch
    from transformers import GPT2LMHeadModel

    from tinygpt.inference.engine import Engine
    from tinygpt.model.gpt import GPT
    from tinygpt.tokenizers.bpe import BPETokenizer
    from tinygpt.tokenizers.char_byte import CharTokenizer

# Workers of pytest-xdist share the cores: more threads than cores make small models crawl.
os.environ.setdefault("OMP_NUM_THREADS", "1")


settings.register_profile("tinygpt", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("tinygpt")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request) -> None:
    """Keep tests away from the user's cache and from the network, but for marker `index`."""
    if "index" not in request.keywords:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def tiny_config() -> ModelConfig:
    """2 layers x 2 heads x 32 wide x 16 positions."""
    return ModelConfig(
        vocab_size=50,
        n_positions=16,
        n_embd=32,
        n_layer=2,
        n_head=2,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )


def _scale_up(module: "torch.nn.Module", config: ModelConfig, seed: int) -> None:
    """Draw weights that nothing hides in: wide pre-activations, no LayerNorm at 1 and 0.

    At GPT-2's own scale (0.02) the wrong GELU and swapped biases pass a comparison of logits.
    Width 32 gets a standard deviation of 0.5, as the matrices of wider models do by sqrt(width).
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(module.named_parameters()):
            values = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                values *= 0.5 * (32 / config.n_embd) ** 0.5
            else:
                values = 0.5 * values + ("ln_" in name and name.endswith("weight"))
            parameter.copy_(values)


@pytest.fixture(scope="session")
def make_gpt() -> Callable[..., "GPT"]:
    """make_gpt(config, seed=0): a GPT with scaled-up random weights, in eval mode."""
    from tinygpt.model.gpt import GPT

    def make(config: ModelConfig, seed: int = 0) -> "GPT":
        model = GPT(config)
        _scale_up(model, config, seed)
        return model.eval()

    return make


@pytest.fixture(scope="session")
def make_hf_gpt2() -> Callable[..., "GPT2LMHeadModel"]:
    """make_hf_gpt2(config, seed=0): transformers' GPT-2 of the same shape, scaled-up weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    def make(config: ModelConfig, seed: int = 0) -> "GPT2LMHeadModel":
        hf_config = GPT2Config.from_dict(config.to_dict(), attn_implementation="eager")
        model = GPT2LMHeadModel(hf_config)
        _scale_up(model, config, seed)
        return model.eval()

    return make


@pytest.fixture(scope="session")
def open_gpt() -> Callable[..., "GPT"]:
    """open_gpt(config, tensors): a GPT on the tensors of a HF checkpoint (arrays or torch)."""
    import torch

    from tinygpt.model.gpt import GPT
    from tinygpt.model.hf_weights import from_hf

    def build(config: ModelConfig, tensors: Mapping[str, Any]) -> "GPT":
        with torch.device("meta"):
            model = GPT(config)
        state = from_hf(tensors, config, "the test's tensors")
        state = {name: torch.as_tensor(array).float() for name, array in state.items()}
        model.load_state_dict(state, strict=False, assign=True)
        model.tie_weights()
        return model.eval()

    return build


@pytest.fixture(scope="session")
def torch_engine() -> Callable[["GPT"], "Engine"]:
    """torch_engine(gpt): the Engine that runs a GPT which was made in memory."""
    from tinygpt.inference.engine import Engine
    from tinygpt.model.hf_weights import to_hf

    def wrap(gpt: "GPT") -> "Engine":
        weights = {name: t.numpy() for name, t in to_hf(gpt.state_dict(), gpt.config).items()}
        options = EngineOptions(engine="torch", device="cpu")
        return Engine(gpt.config, weights, where="the test", options=options)

    return wrap


@pytest.fixture
def tiny_model(tiny_config: ModelConfig, make_gpt: Callable[..., "GPT"]) -> "GPT":
    return make_gpt(tiny_config)


@pytest.fixture
def hf_gpt2(
    tiny_config: ModelConfig, make_hf_gpt2: Callable[..., "GPT2LMHeadModel"]
) -> "GPT2LMHeadModel":
    return make_hf_gpt2(tiny_config)


@pytest.fixture
def char_tokenizer() -> "CharTokenizer":
    """50 characters, as many as tiny_config has ids."""
    from tinygpt.tokenizers.char_byte import CharTokenizer

    return CharTokenizer.from_text("\n !" + string.ascii_letters[:47])


@pytest.fixture(scope="session")
def byte_bpe() -> Callable[..., "BPETokenizer"]:
    """byte_bpe(merges): GPT-2's byte-level BPE with few merges, and `<|endoftext|>`."""
    from tinygpt.tokenizers.bpe import BPETokenizer

    def make(merges: list[tuple[str, str]]) -> "BPETokenizer":
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [b for b in range(256) if b not in printable]
        letters = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
        vocab = {letters[b]: i for i, b in enumerate([*printable, *others])}
        for a, b in merges:
            vocab[a + b] = len(vocab)
        vocab["<|endoftext|>"] = len(vocab)
        return BPETokenizer(vocab, merges, {"<|endoftext|>": vocab["<|endoftext|>"]})

    return make


@pytest.fixture
def model_folder(
    tmp_path: Path, tiny_config: ModelConfig, tiny_model: "GPT", char_tokenizer: "CharTokenizer"
) -> Path:
    """A folder with tiny_model, char_tokenizer and both configs, as transformers opens it."""
    from tinygpt.config.generation_config import GenerationConfig
    from tinygpt.formats.weights import write_safetensors
    from tinygpt.model.hf_weights import to_hf

    folder = tmp_path / "tiny"
    folder.mkdir()
    tensors = to_hf(tiny_model.state_dict(), tiny_config)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    write_safetensors(folder / "model.safetensors", arrays)
    for name, config in (
        ("config.json", tiny_config),
        ("generation_config.json", GenerationConfig()),
    ):
        (folder / name).write_text(json.dumps(config.to_dict(), indent=2), "utf-8")
    char_tokenizer.save(folder, tiny_config.n_positions)
    return folder


@pytest.fixture(scope="session")
def foreign_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """foreign_folder("llama"): a folder that transformers wrote, of a model that is no GPT-2.

    `llama` has grouped heads and a tokenizer like SentencePiece's: a space before the first word,
    bytes for what it lacks, <s> before a text. `gpt_neox` has byte-level BPE and nothing in front.
    """
    from tests.inference.transformers_backend.foreign import write_foreign

    root, made = tmp_path_factory.mktemp("foreign"), dict[str, Path]()

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = write_foreign(root / family, family)
        return made[family]

    return folder


@pytest.fixture(
    scope="module"
)  # its event loop must not outlive the module: asyncio.run forbids it
def chromium() -> Iterator[Any]:
    """A headless browser; the test is skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("neither chromium nor google-chrome is installed")
    quiet = "--no-sandbox --disable-gpu --disable-background-networking --disable-quic"
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=[*quiet.split(), "--no-first-run"]
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[[Path, int, str], Any]]:
    """open_page(file, width, scheme): it in the browser; any message or other request fails."""
    heard: list[str] = []
    pages = []

    def open_file(path: Path, width: int, scheme: str) -> Any:
        page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on("console", lambda message: heard.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: heard.append(f"error: {error}"))
        page.on("request", lambda request: heard.append(f"request: {request.url}"))
        page.goto(path.as_uri())
        heard.remove(f"request: {path.as_uri()}")
        pages.append(page)
        return page

    yield open_file
    for page in pages:
        page.close()
    assert heard == []


@pytest.fixture
def prints_whole() -> Callable[[Any], None]:
    """prints_whole(page): on A4 nothing is wider than the paper, no picture higher."""

    def check(page: Any) -> None:
        assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))) > 0
        width, height = 718, 1047  # A4 at 96 dots an inch, 10 mm less on each side
        page.emulate_media(media="print")
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for figure in page.locator("figure").all():
            place = figure.bounding_box()
            assert place["x"] + place["width"] <= width
            assert place["height"] < height
        for words in page.locator("svg text, td, pre").all()[:400]:
            place = words.bounding_box()
            assert place is None or place["x"] + place["width"] <= width + 1, words.text_content()

    return check
