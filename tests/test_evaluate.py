"""Evaluation against models whose entropy is known, and against brute force."""

import hashlib
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygpt.errors import ConfigError, DataError, TokenizerError
from tinygpt.evaluate import evaluate, n_windows, token_nats, val_loss
from tinygpt.model import GPT
from tinygpt.model_config import ModelConfig
from tinygpt.tokenizer import CharTokenizer

LETTERS = "\n abcdefg"


def config(vocab_size: int, n_positions: int = 16, **changes) -> ModelConfig:
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2} | changes
    return ModelConfig(
        vocab_size=vocab_size,
        n_positions=n_positions,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        **sizes,
    )


def random_gpt(shape: ModelConfig, seed: int = 0) -> GPT:
    return GPT(replace(shape, initializer_range=0.5), torch.Generator().manual_seed(seed)).eval()


def uniform_gpt(vocab_size: int, n_positions: int = 16) -> GPT:
    model = random_gpt(config(vocab_size, n_positions))
    with torch.no_grad():
        model.lm_head.weight.zero_()
    return model


def markov_gpt(transitions: np.ndarray, n_positions: int = 16) -> GPT:
    """A GPT that computes exactly P(next | current): no attention, no MLP, no positions."""
    v = len(transitions)
    shape = config(v, n_positions, n_embd=v + 1, n_head=1, tie_word_embeddings=False)
    model = random_gpt(shape)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "c_proj" in name or "wpe" in name:
                parameter.zero_()
        model.transformer.wte.weight.copy_(torch.eye(v, v + 1))
        hidden = F.layer_norm(torch.eye(v, v + 1), (v + 1,), eps=shape.layer_norm_epsilon)
        wanted = torch.from_numpy(np.log(transitions)).float()  # (current, next)
        model.lm_head.weight.copy_(torch.linalg.lstsq(hidden, wanted).solution.T)
    return model


def text_of(n: int, letters: str = LETTERS, seed: int = 0) -> str:
    return "".join(np.random.default_rng(seed).choice(list(letters), n))


def brute_force(model: GPT, prefix: list[int], ids: list[int], context: int, stride: int):
    """One target at a time, from the definition: the window that first reaches it scores it."""
    sequence, out = [*prefix, *ids], []
    first = max(1, len(prefix))
    window_end = max(first, context)  # the first window's inputs end before this index
    for target in range(first, len(sequence)):
        while target > window_end:
            window_end += stride
        end = min(window_end, len(sequence) - 1)
        begin = max(0, end - context)
        with torch.inference_mode():
            logits = model(torch.tensor([sequence[begin:target]]))[0, -1].double()
        out.append(-torch.log_softmax(logits, -1)[sequence[target]].item())
    return out


@pytest.mark.parametrize("characters", [LETTERS, "ab", "äöü€😀 \n"])
def test_uniform_model_costs_log2_of_its_vocabulary_per_character(characters: str) -> None:
    tokenizer = CharTokenizer.from_text(characters)
    text = text_of(200, characters)
    result = evaluate(uniform_gpt(tokenizer.vocab_size), tokenizer, text, prefix=characters)
    bits = math.log2(len(set(characters))) * len(text)
    assert result.bits_per_byte == pytest.approx(bits / len(text.encode()), rel=1e-6)
    assert result.n_bytes == len(text.encode())
    assert result.perplexity == pytest.approx(len(set(characters)), rel=1e-6)


def test_uniform_bpe_costs_log2_of_its_vocabulary_per_token(byte_bpe) -> None:
    tokenizer = byte_bpe([("a", "b"), ("ab", "c")])
    text = text_of(300)
    result = evaluate(uniform_gpt(tokenizer.vocab_size), tokenizer, text)
    n_tokens = len(tokenizer.encode(text))
    assert n_tokens < len(text)
    assert result.bits_per_byte == pytest.approx(
        math.log2(tokenizer.vocab_size) * n_tokens / len(text), rel=1e-6
    )
    assert result.start == "<|endoftext|>"


def test_equal_models_under_two_tokenizers_cost_the_same(byte_bpe) -> None:
    """Bytes as characters or as byte-level BPE ids: the same chain, the same bits per byte."""
    letters, text = "abc", text_of(150, "abc")
    rng = np.random.default_rng(1)
    small = rng.dirichlet(np.ones(3), 3)
    char = evaluate(markov_gpt(small), CharTokenizer(letters), text, prefix="a")
    bpe = byte_bpe([])
    ids = bpe.encode(letters)
    large = np.full((bpe.vocab_size, bpe.vocab_size), 1e-9)
    large[np.ix_(ids, ids)] = small
    large /= large.sum(1, keepdims=True)
    byte = evaluate(markov_gpt(large), bpe, text, prefix="a")
    assert byte.bits_per_byte == pytest.approx(char.bits_per_byte, rel=1e-3)


def test_markov_source_costs_its_entropy_rate() -> None:
    rng = np.random.default_rng(2)
    transitions = rng.dirichlet(np.ones(4), 4)
    state, states = 0, []
    for _ in range(20_000):
        state = rng.choice(4, p=transitions[state])
        states.append(state)
    text = "".join("abcd"[s] for s in states)
    result = evaluate(markov_gpt(transitions, 128), CharTokenizer("abcd"), text, prefix="a")
    pairs = zip([0, *states], states, strict=False)
    exact = -sum(math.log2(transitions[a, b]) for a, b in pairs) / len(text)
    assert result.bits_per_byte == pytest.approx(exact, rel=1e-5)
    weights = np.linalg.matrix_power(transitions, 200)[0]
    entropy = -(weights[:, None] * transitions * np.log2(transitions)).sum()
    assert result.bits_per_byte == pytest.approx(entropy, abs=0.03)


@settings(max_examples=25, deadline=None)
@given(
    n_prefix=st.integers(0, 20),
    n=st.integers(2, 40),
    context=st.integers(1, 8),
    stride=st.integers(1, 8),
    batch_size=st.integers(1, 4),
)
def test_equals_brute_force_one_token_at_a_time(n_prefix, n, context, stride, batch_size) -> None:
    stride = min(stride, context)
    model = random_gpt(config(9, 8))
    rng = np.random.default_rng(n)
    prefix = rng.integers(0, 9, n_prefix).astype(np.int32)[-max(1, context - 1) :]
    ids = rng.integers(0, 9, n).astype(np.int32)
    nats = token_nats(model, prefix, ids, context, stride, batch_size=batch_size)
    expected = brute_force(model, prefix.tolist(), ids.tolist(), context, stride)
    assert len(nats) == len(ids) - (len(prefix) == 0)
    np.testing.assert_allclose(nats, expected, rtol=1e-4, atol=1e-5)


def test_stride_one_gives_every_target_the_whole_context() -> None:
    model = random_gpt(config(9, 8))
    ids = np.random.default_rng(0).integers(0, 9, 30).astype(np.int32)
    nats = token_nats(model, ids[:7], ids[7:], 8, 1)
    for i, target in enumerate(range(7, 30)):
        window = torch.from_numpy(ids[max(0, target - 8) : target].astype(np.int64))[None]
        logits = model(window)[0, -1]
        # The very first window scores two targets, the first of them with one token less.
        assert nats[i] == pytest.approx(
            F.cross_entropy(logits, torch.tensor(int(ids[target]))).item(), rel=1e-4
        )


def test_every_target_once_whatever_the_batch_size() -> None:
    tokenizer = CharTokenizer(LETTERS)
    model, text = random_gpt(config(len(LETTERS))), text_of(333)
    results = [
        evaluate(model, tokenizer, text, prefix="abc", batch_size=size) for size in (1, 3, 64)
    ]
    assert {r.n_tokens for r in results} == {333}
    assert results[0].total_nats == pytest.approx(results[1].total_nats, rel=1e-6)
    assert results[0].total_nats == pytest.approx(results[2].total_nats, rel=1e-6)
    assert results[0].sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_longer_context_helps_a_model_that_looks_back() -> None:
    model, tokenizer = random_gpt(config(len(LETTERS))), CharTokenizer(LETTERS)
    text = text_of(64)
    few = evaluate(model, tokenizer, text, prefix="abc", context=2, stride=1)
    many = evaluate(model, tokenizer, text, prefix="abc", context=16, stride=8)
    assert few.total_nats != pytest.approx(many.total_nats, rel=1e-3)
    assert (few.context, few.stride, many.context, many.stride) == (2, 1, 16, 8)


def test_prefix_is_seen_but_not_scored() -> None:
    model, tokenizer = random_gpt(config(len(LETTERS))), CharTokenizer(LETTERS)
    text = text_of(20)
    short = evaluate(model, tokenizer, text, prefix="a")
    long = evaluate(model, tokenizer, text, prefix="a" * 500)
    assert short.n_tokens == long.n_tokens == 20
    assert (short.prefix_bytes, long.prefix_bytes) == (1, 15)  # as much as the context holds
    assert short.total_nats != pytest.approx(long.total_nats, rel=1e-4)


def test_without_prefix_a_newline_or_a_uniform_first_token() -> None:
    text = text_of(20, "abc")
    with_newline = evaluate(random_gpt(config(4)), CharTokenizer("\nabc"), text)
    assert with_newline.start == "a newline"
    assert with_newline.n_tokens == 20
    uniform = evaluate(uniform_gpt(3), CharTokenizer("abc"), text)
    assert uniform.start.startswith("nothing")
    assert uniform.total_nats == pytest.approx(20 * math.log(3), rel=1e-6)


def test_unknown_characters_are_refused_or_paid_for() -> None:
    tokenizer, model = CharTokenizer("ab"), uniform_gpt(2)
    text = "ab€ab"  # the euro sign has three bytes
    with pytest.raises(TokenizerError, match="€"):
        evaluate(model, tokenizer, text, prefix="a")
    eps = 1 / 1001
    result = evaluate(model, tokenizer, text, prefix="a€", escape=eps)
    unknown_bits = -math.log2(eps) + 8 * 3
    known_bits = 4 * (1 - math.log2(1 - eps))
    assert result.total_nats / math.log(2) == pytest.approx(unknown_bits + known_bits, rel=1e-6)
    assert result.bits_per_byte == pytest.approx((unknown_bits + known_bits) / 7, rel=1e-6)
    assert (result.n_unknown, result.n_bytes, result.n_characters) == (1, 7, 5)
    assert result.unknown_nats / math.log(2) == pytest.approx(unknown_bits, rel=1e-9)
    only = evaluate(model, tokenizer, "€€", prefix="a", escape=eps)
    assert only.total_nats / math.log(2) == pytest.approx(2 * unknown_bits, rel=1e-6)


def test_border_inside_a_token_splits_it(byte_bpe) -> None:
    """A prefix that ends inside a joint token is encoded for itself: no byte is scored twice."""
    tokenizer = byte_bpe([("a", "b")])
    model = uniform_gpt(tokenizer.vocab_size)
    result = evaluate(model, tokenizer, "bab", prefix="aba")  # jointly: ab|ab|ab
    assert result.n_tokens == 2
    assert result.n_bytes == 3


def test_loss_by_position_counts_context() -> None:
    transitions = np.full((4, 4), 0.25)
    result = evaluate(markov_gpt(transitions), CharTokenizer("abcd"), text_of(100, "abcd"))
    seen = [x for x in result.loss_by_position if x is not None]
    assert len(result.loss_by_position) == 8
    assert seen
    assert all(x == pytest.approx(math.log(4), rel=1e-5) for x in seen)
    # With a prefix and stride of half the context, nothing is scored with less than half of it.
    late = evaluate(
        markov_gpt(transitions), CharTokenizer("abcd"), text_of(100, "abcd"), prefix="abcd" * 9
    )
    assert late.loss_by_position[:4] == (None,) * 4
    assert None not in late.loss_by_position[4:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"context": 17}, "context=17 is not allowed: 1 to 16"),
        ({"context": 0}, "context=0"),
        ({"stride": 17}, "stride=17"),
        ({"stride": 0}, "stride=0"),
    ],
)
def test_impossible_windows_are_refused(arguments, message) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate(uniform_gpt(9), CharTokenizer(LETTERS), "abc", **arguments)


def test_empty_text_is_refused() -> None:
    with pytest.raises(DataError, match="empty"):
        evaluate(uniform_gpt(9), CharTokenizer(LETTERS), "")


def test_val_loss_scores_disjoint_windows() -> None:
    model = random_gpt(config(9))
    ids = np.random.default_rng(3).integers(0, 9, 41).astype(np.int32)
    result = val_loss(model, ids, 8, batch_size=2)
    expected, count = 0.0, 0
    for begin in range(0, 40, 8):
        row = torch.from_numpy(ids[begin : begin + 9].astype(np.int64))
        logits = model(row[None, :-1])[0]
        expected += F.cross_entropy(logits, row[1:], reduction="sum").item()
        count += len(row) - 1
    assert (result.n_tokens, result.n_total, count) == (40, 40, 40)
    assert result.loss == pytest.approx(expected / 40, rel=1e-5)
    assert n_windows(41, 8) == 5


def test_val_loss_last_window_may_be_short() -> None:
    model = uniform_gpt(9)
    ids = np.random.default_rng(3).integers(0, 9, 44).astype(np.int32)
    result = val_loss(model, ids, 8)
    assert (result.n_tokens, result.n_total, n_windows(44, 8)) == (43, 43, 6)
    assert result.loss == pytest.approx(math.log(9), rel=1e-6)


def test_val_loss_of_chosen_windows_and_until_a_deadline() -> None:
    model = uniform_gpt(9)
    ids = np.zeros(81, np.int32)
    chosen = val_loss(model, ids, 8, windows=[0, 4, 9])
    assert (chosen.n_tokens, chosen.n_total) == (24, 24)
    stopped = val_loss(model, ids, 8, batch_size=2, deadline=lambda: True)
    assert (stopped.n_tokens, stopped.n_total) == (16, 80)
    with pytest.raises(DataError, match="no target"):
        val_loss(model, ids[:1], 8)


def test_evaluation_leaves_the_training_mode_as_it_was() -> None:
    model = uniform_gpt(9).train()
    val_loss(model, np.zeros(20, np.int32), 8)
    assert model.training
    evaluate(model, CharTokenizer(LETTERS), "abcabc")
    assert model.training
