"""Evaluation against models whose entropy is known, and against brute force."""

import hashlib
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tinygpt.config.model_config import ModelConfig
from tinygpt.errors import ConfigError, DataError, TokenizerError
from tinygpt.evaluation.bits_per_byte import evaluate
from tinygpt.evaluation.token_losses import targets
from tinygpt.evaluation.token_nll import score_tokens
from tinygpt.model.gpt import GPT
from tinygpt.tokenizers.char_byte import CharTokenizer

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


def test_prefix_and_text_are_encoded_as_one_text(byte_bpe) -> None:
    """GPT-2 cuts two newlines before a word apart, and takes them as one token at an end."""
    tokenizer = byte_bpe([("Ċ", "Ċ"), ("t", "h"), ("th", "e")])
    model = random_gpt(config(tokenizer.vocab_size))
    joint = tokenizer.encode("a\n\nthe")
    assert (len(joint), len(tokenizer.encode("a\n\n"))) == (4, 2)
    result = evaluate(model, tokenizer, "the", prefix="a\n\n")
    (alone,) = score_tokens(model, joint[:3], joint[3:], 16, [8])
    assert result.total_nats == pytest.approx(alone.nats.sum(), rel=1e-6)
    assert (result.n_tokens, result.prefix_bytes) == (1, 3)


def test_sums_are_float64() -> None:
    """Nats of one token, taken n times, cost n times as much to the last digits."""
    model, tokenizer = uniform_gpt(2), CharTokenizer("ab")
    one = evaluate(model, tokenizer, "a", prefix="b").total_nats
    assert one == float(np.float32(math.log(2)))  # as exact as the model's logits are
    many = evaluate(model, tokenizer, "ab" * 5000, prefix="b", batch_size=64)
    assert many.total_nats == pytest.approx(10_000 * one, rel=1e-12)


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


def test_evaluation_leaves_the_training_mode_as_it_was() -> None:
    model = uniform_gpt(9).train()
    evaluate(model, CharTokenizer(LETTERS), "abcabc")
    assert model.training


def test_targets_leave_out_what_a_character_model_lacks_and_price_it() -> None:
    goal = targets(CharTokenizer("ab"), "a€b", "b€", 16, 0.25)
    assert (goal.prefix_ids.tolist(), goal.ids.tolist()) == ([1], [0, 1])
    assert goal.known is not None
    assert goal.known.tolist() == [True, False, True]
    assert goal.unknown_nats == pytest.approx([math.log(4) + 24 * math.log(2)])
    assert goal.known_nats == pytest.approx(-math.log(0.75))
    assert targets(CharTokenizer("ab"), "ab", "b", 16, None).known is None
