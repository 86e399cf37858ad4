"""A GGUF file holds the same tensors, sizes and tokens as the folder; gguf's own reader reads it.

That llama.cpp computes the same from it is checked by benchmarks/llama_cpp_check.py.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tinygpt.config.model_config import ModelConfig
from tinygpt.errors import CheckpointError, ConfigError, MachineError
from tinygpt.formats.gguf import _TANH_GELU, write_gguf
from tinygpt.formats.gguf_tokenizer import gguf_tokens
from tinygpt.formats.weights import read_weights, write_safetensors
from tinygpt.model.gpt import _ACTIVATIONS, GPT
from tinygpt.model.hf_weights import to_hf
from tinygpt.tokenizers.bpe import BPETokenizer
from tinygpt.tokenizers.char_byte import EOT, ByteTokenizer, CharTokenizer, Tokenizer
from tinygpt.tokenizers.padding import PaddedTokenizer

gguf = pytest.importorskip("gguf")


@pytest.fixture
def make_folder(tmp_path: Path, make_gpt: Callable[..., GPT]) -> Callable[..., Path]:
    """make_folder(config, tokenizer): a model folder with scaled-up random weights."""

    def make(config: ModelConfig, tokenizer: Tokenizer) -> Path:
        folder = tmp_path / "model"
        folder.mkdir()
        tensors = to_hf(make_gpt(config).state_dict(), config)
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        write_safetensors(folder / "model.safetensors", arrays)
        (folder / "config.json").write_text(json.dumps(config.to_dict()), "utf-8")
        tokenizer.save(folder, config.n_positions)
        return folder

    return make


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    return fields, {tensor.name: np.array(tensor.data) for tensor in reader.tensors}


def longest_match(texts: list[str], text: str) -> Iterator[int]:
    """Cut a text as llama.cpp's rwkv tokenizer does; -1 for what the table lacks."""
    table = {
        text.encode("latin-1").decode("unicode_escape").encode("latin-1"): i
        for i, text in enumerate(texts)
    }
    data, place = text.encode(), 0
    while place < len(data):
        fits = [n for n in range(1, 5) if data[place : place + n] in table]
        yield table[data[place : place + fits[-1]]] if fits else -1
        place += fits[-1] if fits else 1


def test_tensors_and_sizes(model_folder: Path, tmp_path: Path) -> None:
    written = write_gguf(model_folder, tmp_path / "new" / "tiny.gguf")
    fields, tensors = read(written.path)
    assert fields["general.architecture"] == "gpt2"
    assert fields["general.name"] == "tiny"
    sizes = {
        "context_length": 16,
        "embedding_length": 32,
        "block_count": 2,
        "feed_forward_length": 128,
        "attention.head_count": 2,
    }
    assert {key: fields[f"gpt2.{key}"] for key in sizes} == sizes
    assert fields["gpt2.attention.layer_norm_epsilon"] == pytest.approx(1e-5)
    ours = read_weights(model_folder)
    pairs = {
        "token_embd.weight": ours["transformer.wte.weight"],
        "position_embd.weight": ours["transformer.wpe.weight"],
        "blk.1.attn_norm.bias": ours["transformer.h.1.ln_1.bias"],
        "blk.1.attn_qkv.weight": ours["transformer.h.1.attn.c_attn.weight"].T,
        "blk.1.attn_qkv.bias": ours["transformer.h.1.attn.c_attn.bias"],
        "blk.0.attn_output.weight": ours["transformer.h.0.attn.c_proj.weight"].T,
        "blk.0.ffn_norm.weight": ours["transformer.h.0.ln_2.weight"],
        "blk.0.ffn_up.weight": ours["transformer.h.0.mlp.c_fc.weight"].T,
        "blk.0.ffn_down.weight": ours["transformer.h.0.mlp.c_proj.weight"].T,
        "output_norm.weight": ours["transformer.ln_f.weight"],
    }
    for name, array in pairs.items():
        np.testing.assert_array_equal(tensors[name], array, err_msg=name)
        assert tensors[name].dtype == np.float32
    assert "output.weight" not in tensors  # tied: llama.cpp takes token_embd
    assert written.n_tensors == len(tensors) == 4 + 2 * 12
    assert written.n_bytes == written.path.stat().st_size
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["tiny.Modelfile", "tiny.gguf"]


def test_untied_head_half_precision_and_inner_width(
    make_folder: Callable[..., Path], tiny_config: ModelConfig, char_tokenizer: CharTokenizer
) -> None:
    config = replace(tiny_config, n_inner=33, tie_word_embeddings=False)
    folder = make_folder(config, char_tokenizer)
    half = {name: array.astype("<f2") for name, array in read_weights(folder).items()}
    write_safetensors(folder / "model.safetensors", half)
    fields, tensors = read(write_gguf(folder, folder / "x.gguf").path)
    assert fields["gpt2.feed_forward_length"] == 33
    assert tensors["blk.0.ffn_up.weight"].shape == (33, 32)
    np.testing.assert_array_equal(tensors["output.weight"], half["lm_head.weight"].astype("<f4"))


def test_characters_are_a_table_of_bytes(model_folder: Path, tmp_path: Path) -> None:
    fields, _ = read(write_gguf(model_folder, tmp_path / "x.gguf").path)
    assert fields["tokenizer.ggml.model"] == "rwkv"
    assert fields["tokenizer.ggml.tokens"][:4] == ["\\x0a", "\\x20", "!", "A"]
    assert set(fields["tokenizer.ggml.token_type"]) == {gguf.TokenType.NORMAL}
    assert "tokenizer.ggml.eos_token_id" not in fields
    assert fields["tokenizer.ggml.add_bos_token"] is False


@pytest.mark.parametrize(
    ("tokenizer", "text"),
    [
        (CharTokenizer.from_text("ab\\ \n\t\r\0'é€😀\u0301"), "\\a\0b\r\n\t'€é😀\u0301 "),
        (ByteTokenizer(), "naïve\r\n\\x41 😀\0"),
    ],
    ids=["char", "byte"],
)
def test_the_table_cuts_texts_into_the_same_ids(tokenizer: Tokenizer, text: str) -> None:
    tokens = gguf_tokens(tokenizer, None)
    assert len(set(tokens.texts)) == len(tokens.texts) == tokenizer.vocab_size + tokens.n_beginnings
    assert list(longest_match(list(tokens.texts), text)) == tokenizer.encode(text).tolist()


def test_an_unknown_character_is_no_id_even_within_its_bytes() -> None:
    tokens = gguf_tokens(CharTokenizer.from_text("aé"), None)
    assert tokens.texts == ("a", "\\xc3\\xa9", "\\xc3")
    assert list(longest_match(list(tokens.texts), "aQè")) == [0, -1, 2, -1]


@pytest.mark.parametrize("tied", [True, False])
def test_beginnings_of_characters_are_never_drawn(
    make_folder: Callable[..., Path], open_gpt: Callable[..., GPT], tied: bool
) -> None:
    tokenizer = CharTokenizer.from_text("ab é€😀")
    config = ModelConfig(
        vocab_size=6, n_positions=8, n_embd=12, n_layer=1, n_head=2, tie_word_embeddings=tied
    )
    folder = make_folder(config, tokenizer)
    fields, tensors = read(write_gguf(folder, folder / "x.gguf").path)
    wide = replace(config, vocab_size=6 + 3, tie_word_embeddings=False)
    assert len(fields["tokenizer.ggml.tokens"]) == len(tensors["token_embd.weight"]) == 9
    ours = read_weights(folder)
    changed = ours | {
        "transformer.wte.weight": tensors["token_embd.weight"],
        "transformer.ln_f.weight": tensors["output_norm.weight"],
        "transformer.ln_f.bias": tensors["output_norm.bias"],
        "lm_head.weight": tensors["output.weight"],
    }
    ids = torch.randint(6, (4, 8), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = open_gpt(config, ours)(ids)
        found = open_gpt(wide, changed)(ids)
    assert (found[..., :6] - expected).abs().max() <= 1e-4 * expected.std()
    assert found[..., 6:].max() < -9_000


def test_bpe(
    make_folder: Callable[..., Path], tiny_config: ModelConfig, byte_bpe: Callable[..., Any]
) -> None:
    tokenizer = byte_bpe([("t", "h"), ("Ġ", "th")])
    config = replace(tiny_config, vocab_size=259, bos_token_id=258, eos_token_id=258)
    folder = make_folder(config, tokenizer)
    fields, _ = read(write_gguf(folder, folder / "x.gguf").path)
    assert fields["tokenizer.ggml.model"] == "gpt2"
    assert fields["tokenizer.ggml.pre"] == "gpt-2"
    assert fields["tokenizer.ggml.merges"] == ["t h", "Ġ th"]
    vocab = json.loads((folder / "vocab.json").read_text("utf-8"))
    assert fields["tokenizer.ggml.tokens"] == list(vocab)
    types = fields["tokenizer.ggml.token_type"]
    assert set(types[:258]) == {gguf.TokenType.NORMAL}
    assert types[258] == gguf.TokenType.CONTROL
    assert fields["tokenizer.ggml.eos_token_id"] == fields["tokenizer.ggml.bos_token_id"] == 258


def test_a_bpe_without_end_of_text_ends_at_a_byte_that_no_text_holds(
    byte_bpe: Callable[..., BPETokenizer],
) -> None:
    letters = byte_bpe([("a", "b")])
    vocab = {text: i for text, i in letters._vocab.items() if text != EOT}
    tokens = gguf_tokens(BPETokenizer(vocab, letters.merges, {}), None)
    assert tokens.texts[tokens.eos_id] == "ÿ"  # GPT-2's letter for the byte 255


def test_padding_is_hidden_and_special_tokens_are_found_first(
    byte_bpe: Callable[..., BPETokenizer],
) -> None:
    letters = byte_bpe([("a", "b")])
    vocab = {t: i for t, i in letters._vocab.items() if t != EOT}
    special = {EOT: 257, "<chat>": 258}
    tokens = gguf_tokens(PaddedTokenizer(BPETokenizer(vocab, letters.merges, special), 261), 257)
    assert tokens.texts[257:] == (EOT, "<chat>", "\\xff[PAD259]", "\\xff[PAD260]")
    assert tokens.special == {257, 258}
    assert tokens.hidden == {257, 259, 260}


def test_a_bpe_without_merges_is_a_table_too(byte_bpe: Callable[..., BPETokenizer]) -> None:
    tokens = gguf_tokens(byte_bpe([]), 256)
    assert tokens.model == "rwkv"  # llama.cpp opens no "gpt2" without merges
    assert tokens.texts[-1] == EOT
    assert tokens.eos_id == 256


def test_modelfile(model_folder: Path, tmp_path: Path) -> None:
    settings = {"temperature": 0.5, "top_k": 7, "top_p": 0.9, "max_new_tokens": 30}
    settings |= {"repetition_penalty": 1.2, "stop_strings": ["\n\n", 'say "']}
    (model_folder / "generation_config.json").write_text(json.dumps(settings), "utf-8")
    modelfile = write_gguf(model_folder, tmp_path / "x.gguf").modelfile
    assert modelfile == tmp_path / "x.Modelfile"
    assert modelfile.read_text("utf-8") == (
        'FROM ./x.gguf\nTEMPLATE """{{ .Prompt }}"""\nPARAMETER num_ctx 16\n'
        "PARAMETER num_predict 30\nPARAMETER temperature 0.5\nPARAMETER top_k 7\n"
        "PARAMETER top_p 0.9\nPARAMETER min_p 0.0\nPARAMETER repeat_penalty 1.2\n"
        'PARAMETER repeat_last_n -1\nPARAMETER stop """\n\n"""\nPARAMETER stop """say """"\n'
    )


@pytest.mark.parametrize("stop", ['a"""b', "\x00"])
def test_a_stop_string_that_no_modelfile_holds(
    model_folder: Path, tmp_path: Path, stop: str
) -> None:
    (model_folder / "generation_config.json").write_text(json.dumps({"stop_strings": [stop]}))
    with pytest.raises(ConfigError, match="can't stand in a Modelfile"):
        write_gguf(model_folder, tmp_path / "x.gguf")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"activation_function": "gelu"}, 'activation_function="gelu" is not computed by llama'),
        ({"activation_function": "relu"}, 'activation_function="relu" is not computed by llama'),
        ({"n_layer": 600}, "n_layer=600 is more than the 512 layers"),
        ({"scale_attn_weights": False}, "scale_attn_weights"),
    ],
)
def test_what_llama_cpp_does_not_compute_is_named(
    model_folder: Path, tmp_path: Path, change: dict[str, Any], match: str
) -> None:
    path = model_folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | change), "utf-8")
    with pytest.raises(ConfigError, match=match):
        write_gguf(model_folder, tmp_path / "x.gguf")
    assert not list(tmp_path.glob("x.*"))


def test_every_name_of_the_tanh_gelu_is_known() -> None:
    named = {name for name, f in _ACTIVATIONS.items() if f is _ACTIVATIONS["gelu_new"]}
    assert set(_TANH_GELU) == named


@pytest.mark.parametrize("name", ["x.gguf", "x.Modelfile"])
def test_nothing_is_overwritten(model_folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ConfigError, match=f"{name} exists already"):
        write_gguf(model_folder, tmp_path / "x.gguf")
    assert (tmp_path / name).read_text() == "mine"


def test_a_pickle_only_if_allowed(model_folder: Path, tmp_path: Path) -> None:
    tensors = {name: torch.from_numpy(a.copy()) for name, a in read_weights(model_folder).items()}
    (model_folder / "model.safetensors").unlink()
    torch.save(tensors, model_folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="--allow-pickle"):
        write_gguf(model_folder, tmp_path / "x.gguf")
    assert write_gguf(model_folder, tmp_path / "x.gguf", allow_pickle=True).n_tensors == 28


def test_a_refused_write_leaves_nothing(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(MachineError, match=r"x\.gguf can't be written: No space left"):
        write_gguf(model_folder, tmp_path / "x.gguf")
    assert [p.name for p in tmp_path.iterdir()] == [model_folder.name]


def test_without_the_package_one_line_says_how_to_get_it(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MachineError, match="`pip install gguf`"):
        write_gguf(model_folder, tmp_path / "x.gguf")
