"""Checkpoints of nanoGPT and minGPT: what is taken from where, and what is refused.

That the logits are those of the two projects' models is measured in formats/test_variants.py.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.foreign import CHARACTERS, C, H, L, P, meta_file, mingpt_file, nanogpt_file

from tinygpt.errors import CheckpointError, ConfigError, DataError, TinyGPTError
from tinygpt.formats.nanogpt import Imported, read_checkpoint

N = len(CHARACTERS)


def read(path: Path, **arguments: Any) -> Imported:
    return read_checkpoint(path, allow_pickle=True, **arguments)


def refusal(path: Path, kind: type[TinyGPTError] = CheckpointError, **arguments: Any) -> str:
    with pytest.raises(kind) as caught:
        read(path, **arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def changed(path: Path, **tables: dict[str, Any]) -> Path:
    """Change tables of a ckpt.pt."""
    data = torch.load(path, weights_only=True)
    for name, changes in tables.items():
        data[name] = {**data[name], **changes}
    torch.save(data, path)
    return path


@pytest.fixture
def ckpt(tmp_path) -> Path:
    """A character nanoGPT without biases, its meta.pkl beside it."""
    nanogpt_file(tmp_path / "ckpt.pt", N)
    meta_file(tmp_path / "meta.pkl", CHARACTERS)
    return tmp_path / "ckpt.pt"


@pytest.fixture
def mini(tmp_path) -> Path:
    """A character minGPT; no config.json."""
    mingpt_file(tmp_path / "out" / "model.pt", N)
    (tmp_path / "input.txt").write_text(CHARACTERS, "utf-8")
    return tmp_path / "out" / "model.pt"


def test_nanogpts_settings_become_ours(ckpt) -> None:
    changed(ckpt, model_args={"dropout": 0.2})
    found = read(ckpt)
    assert found.kind == "nanoGPT"
    config = found.config
    assert (config.vocab_size, config.n_positions, config.n_embd) == (N, P, C)
    assert (config.n_layer, config.n_head, config.activation_function) == (L, H, "gelu")
    assert (config.resid_pdrop, config.embd_pdrop, config.attn_pdrop) == (0.2, 0.2, 0.2)
    assert (config.tie_word_embeddings, config.bos_token_id, config.eos_token_id) == (
        True,
        None,
        None,
    )
    assert found.tokenizer.encode(CHARACTERS).tolist() == list(range(N))
    assert f"characters: {ckpt.with_name('meta.pkl')}" in found.notes


def test_absent_biases_are_zeros_and_present_ones_are_kept(ckpt, tmp_path) -> None:
    biases = [a for name, a in read(ckpt).state.items() if name.endswith(".bias")]
    assert len(biases) == 6 * L + 1
    assert not any(bias.any() for bias in biases)
    state = nanogpt_file(tmp_path / "with.pt", N, bias=True)
    name = "transformer.h.1.attn.c_attn.bias"
    np.testing.assert_array_equal(read(tmp_path / "with.pt").state[name], state[name].numpy())


def test_a_bias_that_is_said_to_be_there_must_be_there(ckpt) -> None:
    assert "missing" in refusal(changed(ckpt, model_args={"bias": True}))


def test_an_old_nanogpt_had_the_tanh_gelu(ckpt) -> None:
    found = read(ckpt, architecture={"activation_function": "gelu_new"})
    assert found.config.activation_function == "gelu_new"
    assert "activation_function gelu_new" in found.notes[0]


def test_masks_of_slow_attention_are_dropped(ckpt) -> None:
    mask = {f"transformer.h.{i}.attn.bias": torch.ones(1, 1, P, P).tril() for i in range(L)}
    assert read(changed(ckpt, model=mask)).config.n_layer == L


@pytest.mark.parametrize("n_known", [33, 62, 64])
def test_padding_up_to_64_is_left_out(n_known, tmp_path) -> None:
    state = nanogpt_file(tmp_path / "ckpt.pt", 64)
    characters = "".join(map(chr, range(32, 32 + n_known)))
    meta_file(tmp_path / "meta.pkl", characters)
    found = read(tmp_path / "ckpt.pt")
    assert found.config.vocab_size == n_known == found.tokenizer.vocab_size
    wte = found.state["transformer.wte.weight"]
    np.testing.assert_array_equal(wte, state["transformer.wte.weight"][:n_known].numpy())
    note = f"the last {64 - n_known} of 64 ids are padding, left out"
    assert (note in found.notes) is (n_known < 64)


@pytest.mark.parametrize("n_known", [N - 1, N + 1, 2])
def test_a_meta_file_of_another_model_is_refused(n_known, ckpt) -> None:
    meta_file(ckpt.with_name("meta.pkl"), "".join(map(chr, range(32, 32 + n_known))))
    message = refusal(ckpt)
    assert f"the model has {N} ids, {ckpt.with_name('meta.pkl')} has {n_known}" in message
    assert "give the right --meta or --text" in message


def test_where_the_vocabulary_comes_from(tmp_path) -> None:
    path = tmp_path / "out" / "ckpt.pt"
    nanogpt_file(path, N, dataset="my_text")
    assert "give nanoGPT's meta.pkl with --meta, or the text" in refusal(path)
    text = tmp_path / "input.txt"
    text.write_bytes(CHARACTERS.replace("\n", "\r\n").encode())  # both projects read "\n" there
    assert read(path, text=text).tokenizer.decode(range(N)) == CHARACTERS
    meta_file(tmp_path / "other.pkl", CHARACTERS)
    assert read(path, meta=tmp_path / "other.pkl").config.vocab_size == N
    meta_file(tmp_path / "data" / "my_text" / "meta.pkl", CHARACTERS)
    assert f"characters: {tmp_path / 'data' / 'my_text' / 'meta.pkl'}" in read(path).notes
    meta_file(path.with_name("meta.pkl"), CHARACTERS)
    assert f"characters: {path.with_name('meta.pkl')}" in read(path).notes
    message = refusal(path, ConfigError, meta=tmp_path / "other.pkl", text=text)
    assert "give one vocabulary, not two" in message


@pytest.mark.parametrize("dataset", ["..", "../..", "/etc", "", 7, None, "a\nb"])
def test_a_dataset_name_leads_nowhere_else(dataset, tmp_path) -> None:
    path = tmp_path / "a" / "b" / "out" / "ckpt.pt"
    nanogpt_file(path, N, dataset=dataset)
    for folder in (tmp_path, tmp_path / "a", tmp_path / "a" / "b"):
        meta_file(folder / "meta.pkl", CHARACTERS)
    assert "nothing tells what" in refusal(path)


def test_bad_training_texts(ckpt, tmp_path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    assert "is not UTF-8" in refusal(ckpt, DataError, text=tmp_path / "latin.txt")
    assert "can't be read" in refusal(ckpt, DataError, text=tmp_path / "none.txt")


def test_forks_and_contradictions_are_refused_by_name(ckpt) -> None:
    message = refusal(ckpt, ConfigError, architecture={"n_head": 4})
    assert f"n_head=4, but {ckpt} says 2; leave --n-head out" in message
    message = refusal(changed(ckpt, model_args={"use_rmsnorm": True}))
    assert "model_args has 'use_rmsnorm', which nanoGPT does not know; a fork" in message


@pytest.mark.parametrize(
    ("args", "message"),
    [({"n_head": 3}, "not divisible"), ({"block_size": "16"}, "n_positions='16' is not allowed")],
)
def test_impossible_sizes_are_refused(args, message, ckpt) -> None:
    assert message in refusal(changed(ckpt, model_args=args), ConfigError)


def test_mingpts_sizes_come_from_its_shapes(mini, tmp_path) -> None:
    found = read(mini, text=tmp_path / "input.txt", architecture={"n_head": H})
    assert found.kind == "minGPT"
    config = found.config
    assert (config.vocab_size, config.n_positions, config.n_embd) == (N, P, C)
    assert (config.n_layer, config.n_head, config.activation_function) == (L, H, "gelu_new")
    assert config.tie_word_embeddings is False
    assert "lm_head.weight" in found.state


@pytest.mark.parametrize(
    ("model", "n_head"),
    [
        ({"n_head": 8, "model_type": None}, 8),
        ({"n_head": None, "model_type": "gpt-micro"}, 4),
        ({"n_head": None, "model_type": "gopher-44m"}, 16),
    ],
)
def test_mingpts_heads_come_from_its_config_file(model, n_head, mini, tmp_path) -> None:
    mingpt_file(mini, N, model | {"resid_pdrop": 0.3})
    config = read(mini, text=tmp_path / "input.txt").config
    assert (config.n_head, config.resid_pdrop, config.attn_pdrop) == (n_head, 0.3, 0.1)


def test_what_mingpt_does_not_say_is_asked_for(mini, tmp_path) -> None:
    text = tmp_path / "input.txt"
    assert "give --n-head" in refusal(mini, text=text)
    mingpt_file(mini, N, {"model_type": "gpt-mini", "n_layer": 5})
    assert "n_layer=2, config.json beside it 5" in refusal(mini, text=text)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "it holds nothing"),
        ({"epoch": 3, "weights": [1]}, "it holds 'epoch', 'weights'"),
        ({"tok_emb.weight": torch.zeros(2, 2)}, "it holds 'tok_emb.weight'"),
        ({"model": {"a": 1}, "model_args": {}}, "is missing"),
    ],
)
def test_other_files_are_refused(state, message, tmp_path) -> None:
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(TinyGPTError, match=message):
        read(tmp_path / "x.pt")


def test_a_hugging_face_state_dict_is_not_taken_for_mingpt(tmp_path, hf_gpt2) -> None:
    torch.save(hf_gpt2.state_dict(), tmp_path / "model.pt")
    message = refusal(tmp_path / "model.pt", architecture={"n_head": 2})
    assert "as in a Hugging Face model" in message
    assert "name it pytorch_model.bin" in message


def test_values_among_the_tensors_are_refused(ckpt) -> None:
    assert "'epoch' is no tensor but a int" in refusal(changed(ckpt, model={"epoch": 3}))


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


def test_nothing_is_opened_without_leave_and_nothing_runs_with_it(ckpt, tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"a pickle \(ckpt\.pt\).*--allow-pickle"):
        read_checkpoint(ckpt, allow_pickle=False)
    canary = tmp_path / "canary"
    torch.save({"model": {}, "model_args": Evil(canary)}, tmp_path / "evil.pt")
    assert "not a plain state_dict" in refusal(tmp_path / "evil.pt")
    assert not canary.exists()
