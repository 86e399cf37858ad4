"""The loop: what it yields, where it ends, and what it does when the window is full."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tinygpt.errors import ContextError, TokenizerError
from tinygpt.generate import generate_ids, prompt_ids, stream_text
from tinygpt.model import GPT
from tinygpt.model_config import ModelConfig
from tinygpt.run_config import GenerationConfig
from tinygpt.sampling import generator, next_id
from tinygpt.tokenizer import CharTokenizer
from tinygpt.torch_session import TorchSession

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

GREEDY = GenerationConfig(temperature=0.0)


@dataclass
class Script:
    """A DecodeSession whose model always says the next id of a script."""

    ids: Sequence[int]
    vocab_size: int = 256
    n_slots: int = 1
    n_positions: int = 10_000
    precision: str = "float32"
    asked: int = 0
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def argmax(self, slots: Sequence[int]) -> list[int]:
        self.asked += 1
        return [self.ids[self.asked - 1]]

    def logits(self, slot: int) -> np.ndarray[Any, Any]:
        logits = np.full(self.vocab_size, -1e9, np.float32)
        logits[self.argmax([slot])[0]] = 0
        return logits

    def prefill(self, slot: int, ids: Sequence[int]) -> None:
        self.calls.append(("prefill", slot, list(ids)))

    def step(self, slots: Sequence[int], ids: Sequence[int]) -> None:
        self.calls.append(("step", list(slots), list(ids)))

    def free(self, slot: int) -> None:
        self.calls.append(("free", slot))

    def verify(self, slot: int, ids: Sequence[int]) -> np.ndarray[Any, Any]:
        raise NotImplementedError

    def truncate(self, slot: int, n: int) -> None:
        raise NotImplementedError


@dataclass
class Pieces:
    """A tokenizer by its token_bytes alone."""

    token_bytes: tuple[bytes, ...]
    eot_id: int | None = None


def stream(pieces: Sequence[bytes], **settings: Any) -> tuple[list[str], Script]:
    """Stream a text that the model says in the given pieces; (yielded, session)."""
    session = Script(range(len(pieces)))
    chosen = GenerationConfig(temperature=0.0, max_new_tokens=len(pieces), **settings)
    tokenizer: Any = Pieces(tuple(pieces))
    return list(stream_text(session, tokenizer, [0], chosen)), session


def brute_force(model: GPT, ids: list[int], settings: GenerationConfig, seed: int = 0) -> list[int]:
    """The rule of the window without a cache: a full forward pass for every token."""
    rng, window, out = generator(seed, 0), list(ids), []
    n = model.config.n_positions
    for _ in range(settings.max_new_tokens):
        with torch.no_grad():
            logits = model(torch.tensor([window]))[0, -1].numpy()
        new = next_id(logits, settings, rng)
        out.append(new)
        full = len(window) == n
        window.append(new)
        if full:
            window = window[-max(n // 2, 1) :]
    return out


class TestIds:
    @pytest.mark.parametrize("n_positions", [1, 2, 3, 7, 16])
    @pytest.mark.parametrize("temperature", [0.0, 0.8])
    def test_goes_on_past_the_window(
        self,
        tiny_config: ModelConfig,
        make_gpt: Callable[..., GPT],
        n_positions: int,
        temperature: float,
    ) -> None:
        model = make_gpt(replace(tiny_config, n_positions=n_positions))
        settings = GenerationConfig(temperature=temperature, max_new_tokens=50)
        for n_prompt in {1, (n_positions + 1) // 2, n_positions}:
            prompt = list(range(n_prompt))
            actual = list(generate_ids(TorchSession(model), prompt, settings, seed=3))
            assert actual == brute_force(model, prompt, settings, seed=3)
            assert len(actual) == 50

    def test_full_window_is_used_and_its_second_half_prefilled_anew(self) -> None:
        session = Script(range(100, 120), n_positions=6)
        settings = replace(GREEDY, max_new_tokens=10)
        assert list(generate_ids(session, [1, 2, 3, 4], settings)) == list(range(100, 110))
        assert session.calls == [
            ("prefill", 0, [1, 2, 3, 4]),
            ("step", [0], [100]),
            ("step", [0], [101]),
            ("free", 0),
            ("prefill", 0, [100, 101, 102]),
            ("step", [0], [103]),
            ("step", [0], [104]),
            ("step", [0], [105]),
            ("free", 0),
            ("prefill", 0, [104, 105, 106]),
            ("step", [0], [107]),
            ("step", [0], [108]),
            ("free", 0),
        ]

    def test_greedy_ids_are_those_of_transformers(
        self,
        tiny_config: ModelConfig,
        make_hf_gpt2: Callable[..., "GPT2LMHeadModel"],
        open_gpt: Callable[..., GPT],
    ) -> None:
        # A tied head of such weights says the same two ids for ever; the tests of logits have it.
        config = replace(tiny_config, n_positions=128, tie_word_embeddings=False)
        theirs = make_hf_gpt2(config)
        ours = TorchSession(open_gpt(config, theirs.state_dict()))
        settings = replace(GREEDY, max_new_tokens=100)
        for prompt in ([7], [3, 1, 4, 1, 5, 9, 2, 6]):
            expected = theirs.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt)),
                max_new_tokens=100,
                do_sample=False,
                pad_token_id=0,
            )
            actual = list(generate_ids(ours, prompt, settings))
            assert actual == expected[0, len(prompt) :].tolist()
            assert len(set(actual)) > 5

    @pytest.mark.parametrize("n", [0, 1, 2])
    def test_max_new_tokens(self, n: int) -> None:
        session = Script([5, 6, 7, 8])
        settings = replace(GREEDY, max_new_tokens=n)
        assert list(generate_ids(session, [1], settings)) == [5, 6, 7][:n]
        assert session.asked == n
        steps = [call for call in session.calls if call[0] == "step"]
        assert len(steps) == max(0, n - 1)  # nothing is computed for an id that nobody wants

    @pytest.mark.parametrize("temperature", [0.0, 1.0])
    def test_ends_before_eos(self, temperature: float) -> None:
        session = Script([5, 6, 9, 8])
        settings = GenerationConfig(temperature=temperature, max_new_tokens=4, eos_token_id=9)
        assert list(generate_ids(session, [9, 1], settings)) == [5, 6]
        assert session.calls[-1] == ("free", 0)

    def test_slot_is_freed_however_it_ends(self, tiny_model: GPT) -> None:
        session = TorchSession(tiny_model, n_slots=2)
        settings = replace(GREEDY, max_new_tokens=5)
        running = generate_ids(session, [1, 2], settings, slot=1)
        next(running)
        session.logits(1)
        running.close()
        with pytest.raises(ValueError, match="slot 1 has no logits"):
            session.logits(1)
        with pytest.raises(ContextError):
            list(generate_ids(session, [1] * 17, settings))
        assert len(list(generate_ids(session, [1] * 16, settings))) == 5

    def test_prompt_is_left_alone(self, tiny_model: GPT) -> None:
        prompt = [1, 2, 3]
        list(generate_ids(TorchSession(tiny_model), prompt, GREEDY))
        assert prompt == [1, 2, 3]

    def test_seed_and_sample_index_decide(self, tiny_model: GPT) -> None:
        session = TorchSession(tiny_model, n_slots=2)
        settings = GenerationConfig(temperature=1.0, max_new_tokens=30)

        def sample(**arguments: int) -> tuple[int, ...]:
            return tuple(generate_ids(session, [1], settings, **arguments))

        assert sample(seed=1) == sample(seed=1, sample_index=0, slot=1)
        different = [sample(seed=s, sample_index=i) for s in (0, 1) for i in (0, 1, 2)]
        assert len(set(different)) == 6


class TestStopStrings:
    @given(
        text=st.text("ab", max_size=12),
        stops=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
        cuts=st.sets(st.integers(1, 11)),
    )
    def test_any_chunking_gives_the_text_up_to_the_first(
        self, text: str, stops: list[str], cuts: set[int]
    ) -> None:
        """The first is the one that ends first, and of those that end there the longest."""
        edges = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
        pieces = [text[a:b].encode() for a, b in itertools.pairwise(edges)]
        expected, n_needed = text, len(pieces)
        for end in range(len(text) + 1):
            found = [stop for stop in stops if text[:end].endswith(stop)]
            if found:
                expected = text[: end - len(max(found, key=len))]
                n_needed = next(i for i, edge in enumerate(edges) if edge >= end)
                break
        yielded, session = stream(pieces, stop_strings=tuple(stops))
        assert "".join(yielded) == expected
        assert "" not in yielded
        assert session.asked == n_needed  # no token is computed after it
        assert session.calls[-1] == ("free", 0)

    def test_only_a_possible_start_is_held_back(self) -> None:
        pieces = [b"one", b" <", b"e", b"x", b"<en", b"d", b"> not this"]
        yielded, _ = stream(pieces, stop_strings=("<end>",))
        assert yielded == ["one", " ", "<ex"]

    def test_unfinished_start_is_yielded_at_the_end(self) -> None:
        yielded, _ = stream([b"a", b"<en"], stop_strings=("<end>",))
        assert yielded == ["a", "<en"]

    def test_unfinished_start_is_yielded_before_eos(self) -> None:
        yielded, _ = stream([b"a", b"<e", b"eos"], stop_strings=("<end>",), eos_token_id=2)
        assert yielded == ["a", "<e"]

    def test_two_in_one_piece(self) -> None:
        yielded, _ = stream([b"one, two. three"], stop_strings=(".", ","))
        assert yielded == ["one"]

    def test_at_once(self) -> None:
        assert stream([b".", b"x"], stop_strings=(".",))[0] == []

    def test_characters_beyond_ascii_in_pieces_of_bytes(self) -> None:
        pieces = [bytes([byte]) for byte in "naïve…🙂 end".encode()]
        yielded, _ = stream(pieces, stop_strings=("🙂",))
        assert "".join(yielded) == "naïve…"
        assert list("naïve…") == yielded


class TestUtf8:
    @given(text=st.text(max_size=20), data=st.data())
    def test_pieces_are_whole_characters(self, text: str, data: st.DataObject) -> None:
        raw = text.encode()
        cuts = data.draw(st.sets(st.integers(1, max(1, len(raw) - 1))))
        edges = [0, *sorted(cut for cut in cuts if cut < len(raw)), len(raw)]
        pieces = [raw[a:b] for a, b in itertools.pairwise(edges)]
        yielded, _ = stream(pieces)
        assert "".join(yielded) == text
        assert "" not in yielded

    def test_first_bytes_wait_for_the_others(self) -> None:
        yielded, _ = stream([b"a\xc3", b"\xa9\xf0\x9f", b"\x99", b"\x82", b"b"])
        assert yielded == ["a", "é", "🙂", "b"]

    def test_bytes_that_never_become_a_character(self) -> None:
        assert "".join(stream([b"a", b"\xf0\x9f"])[0]) == "a\ufffd"
        assert "".join(stream([b"\xff", b"b"])[0]) == "\ufffdb"


class TestStreamText:
    def test_is_the_text_of_the_ids(self, tiny_model: GPT, char_tokenizer: CharTokenizer) -> None:
        session = TorchSession(tiny_model, n_slots=2)
        settings = GenerationConfig(temperature=1.0, max_new_tokens=30)
        ids = prompt_ids(char_tokenizer, "Hello", 16)
        arguments = {"seed": 4, "sample_index": 2, "slot": 1}
        pieces = list(stream_text(session, char_tokenizer, ids, settings, **arguments))
        expected = list(generate_ids(session, ids, settings, **arguments))
        assert "".join(pieces) == char_tokenizer.decode(expected)
        assert len(pieces) == 30

    def test_closing_frees_the_slot(self, tiny_model: GPT, char_tokenizer: CharTokenizer) -> None:
        session = TorchSession(tiny_model)
        pieces = stream_text(session, char_tokenizer, [1], GREEDY)
        next(pieces)
        pieces.close()  # type: ignore[attr-defined]
        with pytest.raises(ValueError, match="no logits"):
            session.logits(0)


class TestPrompt:
    def test_is_encoded(self, char_tokenizer: CharTokenizer) -> None:
        ids = prompt_ids(char_tokenizer, "abc a", 16)
        assert ids == char_tokenizer.encode("abc a").tolist()
        assert all(type(i) is int for i in ids)

    def test_empty_is_a_newline_in_a_character_model(self, char_tokenizer: CharTokenizer) -> None:
        assert prompt_ids(char_tokenizer, "", 16) == char_tokenizer.encode("\n").tolist()

    def test_empty_is_end_of_text_where_there_is_one(self) -> None:
        tokenizer: Any = Pieces((b"a", b"b"), eot_id=1)
        assert prompt_ids(tokenizer, "", 16) == [1]

    def test_empty_without_a_newline(self) -> None:
        with pytest.raises(TokenizerError, match=r"empty prompt .* give a prompt"):
            prompt_ids(CharTokenizer("ab"), "", 16)

    def test_unknown_character(self, char_tokenizer: CharTokenizer) -> None:
        with pytest.raises(TokenizerError, match=r"U\+00E9"):
            prompt_ids(char_tokenizer, "é", 16)

    def test_over_long(self, char_tokenizer: CharTokenizer) -> None:
        text = "abcdefghijklmnopq"
        assert len(prompt_ids(char_tokenizer, text[:16], 16)) == 16
        with pytest.raises(ContextError, match=r"17 tokens.*n_positions is 16.*--truncate-prompt"):
            prompt_ids(char_tokenizer, text, 16)

    def test_truncation_keeps_the_tail(self, char_tokenizer: CharTokenizer) -> None:
        ids = prompt_ids(char_tokenizer, "abcdefghijklmnopq", 16, truncate=True)
        assert char_tokenizer.decode(ids) == "bcdefghijklmnopq"
        assert char_tokenizer.decode(prompt_ids(char_tokenizer, "ab", 16, truncate=True)) == "ab"
