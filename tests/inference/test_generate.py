"""The loop: what it yields, where it ends, and what it does when the window is full."""

import functools
import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.model_config import ModelConfig
from tinygpt.errors import ContextError, TokenizerError
from tinygpt.inference import generate
from tinygpt.inference.generate import (
    generate_batch,
    generate_ids,
    prompt_ids,
    stream_batch,
    stream_text,
)
from tinygpt.inference.sampling import generator, next_id
from tinygpt.inference.torch_session import TorchSession
from tinygpt.model.gpt import GPT
from tinygpt.tokenizers.char_byte import CharTokenizer

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

    @pytest.mark.parametrize(
        ("n_positions", "prompt", "windows"),
        [
            (6, [1, 2, 3, 4], [[100, 101, 102], [104, 105, 106]]),  # after 6 ids: the last 3
            (5, [1, 2, 3, 4], [[100, 101], [104, 105], [108, 109]]),  # the last 5 // 2
            (2, [1], [[101], [103], [105], [107], [109]]),
            (1, [1], [[100 + i] for i in range(10)]),  # never less than the new one
        ],
    )
    def test_one_more_is_drawn_from_the_full_window_then_its_half_is_prefilled_anew(
        self, n_positions: int, prompt: list[int], windows: list[list[int]]
    ) -> None:
        session = Script(range(100, 120), n_positions=n_positions)
        settings = replace(GREEDY, max_new_tokens=11)
        assert list(generate_ids(session, prompt, settings)) == list(range(100, 111))
        prefills = [call[2] for call in session.calls if call[0] == "prefill"]
        assert prefills == [prompt, *windows][: len(prefills)]
        assert len(prefills) >= 3
        held = 0
        for i, (name, *arguments) in enumerate(session.calls):
            if name == "prefill":
                held = len(arguments[1])
            elif name == "step":
                held += 1
            elif i < len(session.calls) - 1:
                assert held == n_positions  # a slot is emptied when it is full, and not before

    def test_the_rule_is_written_the_same_in_the_document(self) -> None:
        rule = str(generate.__doc__).partition("in every engine): ")[2].lower()
        page = (Path(__file__).parents[2] / "docs" / "measuring.md").read_text("utf-8")
        section = page.partition("## Sampling past the window\n")[2].partition("\n## ")[0]
        assert len(rule) > 100
        assert " ".join(rule.split()) in " ".join(section.replace("`", "").lower().split())

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

    @pytest.mark.parametrize("penalty", [0.8, 1.1, 1.5])
    def test_greedy_ids_with_a_penalty_are_those_of_transformers(
        self,
        tiny_config: ModelConfig,
        make_hf_gpt2: Callable[..., "GPT2LMHeadModel"],
        open_gpt: Callable[..., GPT],
        penalty: float,
    ) -> None:
        config = replace(tiny_config, n_positions=64, tie_word_embeddings=False)
        theirs = make_hf_gpt2(config)
        ours = TorchSession(open_gpt(config, theirs.state_dict()))
        settings = replace(GREEDY, max_new_tokens=50, repetition_penalty=penalty)
        for prompt in ([7], [3, 1, 4, 1, 5, 9, 2, 6]):
            expected = theirs.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt)),
                max_new_tokens=50,
                do_sample=False,
                repetition_penalty=penalty,
                pad_token_id=0,
            )
            actual = list(generate_ids(ours, prompt, settings))
            assert actual == expected[0, len(prompt) :].tolist()
            without = replace(settings, repetition_penalty=1.0)
            assert actual != list(generate_ids(ours, prompt, without))

    def test_penalty_remembers_what_has_left_the_window(self) -> None:
        class Flat(Script):
            def logits(self, slot: int) -> np.ndarray[Any, Any]:
                return np.linspace(2, 1, self.vocab_size, dtype=np.float32)

        settings = replace(GREEDY, max_new_tokens=20, repetition_penalty=3.0)
        session = Flat([], n_positions=2, vocab_size=30)
        assert list(generate_ids(session, [0], settings)) == list(range(1, 21))

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


@functools.cache
def small_model() -> GPT:  # hypothesis does not take function-scoped fixtures
    config = ModelConfig(
        vocab_size=11, n_positions=12, n_embd=16, n_layer=2, n_head=2, initializer_range=0.5
    )
    return GPT(config, torch.Generator().manual_seed(0)).eval()


class TestBatch:
    @hypothesis_settings(deadline=None, max_examples=20)
    @given(
        prompts=st.lists(st.lists(st.integers(0, 10), min_size=1, max_size=12), max_size=6),
        n_slots=st.integers(1, 4),
        temperature=st.sampled_from([0.0, 0.9]),
        penalty=st.sampled_from([1.0, 1.3]),
        eos=st.none() | st.integers(0, 10),
        seed=st.integers(0, 3),
    )
    @example(
        prompts=[[1] * n for n in (1, 12, 5)],
        n_slots=3,
        temperature=0.0,
        penalty=1.0,
        eos=None,
        seed=0,
    )
    def test_each_gets_the_ids_that_it_gets_alone(
        self,
        prompts: list[list[int]],
        n_slots: int,
        temperature: float,
        penalty: float,
        eos: int | None,
        seed: int,
    ) -> None:
        """Any lengths, more prompts than slots, ends at different times, past the window too."""
        settings = GenerationConfig(
            temperature=temperature,
            repetition_penalty=penalty,
            eos_token_id=eos,
            max_new_tokens=16,
        )
        session = TorchSession(small_model(), n_slots)
        together: list[list[int]] = [[] for _ in prompts]
        ended = []
        for index, new in generate_batch(session, prompts, settings, seed=seed, sample_index=5):
            assert index not in ended
            if new is None:
                ended.append(index)
            else:
                together[index].append(new)
        assert sorted(ended) == list(range(len(prompts)))
        one = TorchSession(small_model())
        for i, prompt in enumerate(prompts):
            alone = generate_ids(one, prompt, settings, seed=seed, sample_index=5 + i)
            assert together[i] == list(alone)

    def test_sequences_advance_in_one_step(self) -> None:
        class Two(Script):
            def argmax(self, slots: Sequence[int]) -> list[int]:
                self.asked += 1
                return [10 * slot + self.asked for slot in slots]

        session = Two([], n_slots=2, n_positions=5)
        settings = replace(GREEDY, max_new_tokens=4)
        list(generate_batch(session, [[1], [2, 3, 4]], settings))
        assert session.calls == [
            ("prefill", 0, [1]),
            ("prefill", 1, [2, 3, 4]),
            ("step", [0, 1], [1, 11]),
            ("step", [0, 1], [2, 12]),
            ("step", [0], [3]),  # the other one is full
            ("free", 1),
            ("prefill", 1, [12, 13]),
            ("free", 0),
            ("free", 1),
        ]

    def test_a_slot_that_falls_free_takes_the_next_prompt(self) -> None:
        class Ends(Script):
            def argmax(self, slots: Sequence[int]) -> list[int]:
                self.asked += 1
                return [9 if slot == 1 and self.asked == 2 else 1 for slot in slots]

        session = Ends([], n_slots=2)
        settings = replace(GREEDY, max_new_tokens=4, eos_token_id=9)
        got = list(generate_batch(session, [[5], [6], [7], [8]], settings))
        calls = [call for call in session.calls if call[0] != "step"]
        assert calls[:5] == [
            ("prefill", 0, [5]),
            ("prefill", 1, [6]),
            ("free", 1),
            ("prefill", 1, [7]),
            ("free", 0),
        ]
        assert [sum(i == index and new is not None for i, new in got) for index in range(4)] == [
            4,
            1,
            4,
            4,
        ]

    def test_slots_are_freed_however_it_ends(self, tiny_model: GPT) -> None:
        session = TorchSession(tiny_model, n_slots=3)
        running = generate_batch(session, [[1], [2]], replace(GREEDY, max_new_tokens=9))
        for _ in range(3):
            next(running)
        running.close()  # type: ignore[attr-defined]
        for slot in range(3):
            with pytest.raises(ValueError, match="no logits"):
                session.logits(slot)
        with pytest.raises(ContextError):
            list(generate_batch(session, [[1], [1] * 17], GREEDY))
        session.prefill(0, [1] * 16)
        session.free(0)

    def test_no_token_wanted(self) -> None:
        session = Script([])
        settings = replace(GREEDY, max_new_tokens=0)
        assert list(generate_batch(session, [[1], [2]], settings)) == [(0, None), (1, None)]
        assert session.calls == []

    def test_texts_end_at_their_own_stop_strings(
        self, tiny_model: GPT, char_tokenizer: CharTokenizer
    ) -> None:
        settings = GenerationConfig(
            temperature=5.0, max_new_tokens=40, stop_strings=("a", "b", "Q")
        )
        prompts = [prompt_ids(char_tokenizer, text, 16) for text in ("Hello", "a", "abc", "b a")]
        texts, ended = [""] * 4, []
        session = TorchSession(tiny_model, n_slots=3)
        for index, piece in stream_batch(session, char_tokenizer, prompts, settings, seed=2):
            if piece is None:
                ended.append(index)
            else:
                texts[index] += piece
        assert sorted(ended) == [0, 1, 2, 3]
        one = TorchSession(tiny_model)
        for i, ids in enumerate(prompts):
            pieces = stream_text(one, char_tokenizer, ids, settings, seed=2, sample_index=i)
            assert texts[i] == "".join(pieces)
        assert len({len(text) for text in texts}) > 1


class Sampling(TorchSession):
    """A session that samples inside, as session.SamplingSession says; notes (slots, n) of calls."""

    def __init__(self, model: GPT, n_slots: int = 1) -> None:
        super().__init__(model, n_slots)
        self.runs: list[tuple[list[int], int]] = []
        self.n_at_once = 8

    def argmax(self, slots: Sequence[int]) -> list[int]:
        raise AssertionError("it samples inside")

    def decode(
        self,
        slots: Sequence[int],
        n: int,
        settings: GenerationConfig,
        *,
        seed: int = 0,
        sample_indices: Sequence[int] | None = None,
        drawn: Sequence[int] | None = None,
        seen: Sequence[Collection[int]] | None = None,
        stop_ids: Sequence[int] = (),
    ) -> list[list[int]]:
        assert sample_indices is not None
        assert drawn is not None
        assert seen is not None
        self.runs.append((list(slots), n))
        out = []
        for slot, index, before, known in zip(slots, sample_indices, drawn, seen, strict=True):
            rng, ids = generator(seed, index), list[int]()
            if settings.temperature:
                rng.random(before)
            while len(ids) < n and not (ids and ids[-1] in stop_ids):
                if ids:
                    self.step([slot], ids[-1:])
                ids.append(next_id(self.logits(slot), settings, rng, {*known, *ids}))
            out.append(ids)
        return out


class TestSamplingSession:
    @given(
        prompts=st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=6), max_size=4),
        n_slots=st.integers(1, 3),
        temperature=st.sampled_from([0.0, 1.0]),
        penalty=st.sampled_from([1.0, 1.5]),
        eos=st.sampled_from([None, 2]),
        n_new=st.integers(0, 30),
    )
    @hypothesis_settings(deadline=None, max_examples=40)
    def test_gives_what_a_call_for_each_id_gives(
        self,
        prompts: list[list[int]],
        n_slots: int,
        temperature: float,
        penalty: float,
        eos: int | None,
        n_new: int,
    ) -> None:
        """Past the window too, which is never passed inside a run."""
        settings = GenerationConfig(
            temperature=temperature,
            repetition_penalty=penalty,
            eos_token_id=eos,
            max_new_tokens=n_new,
        )
        found = []
        for kind in (TorchSession, Sampling):
            texts: list[list[int | None]] = [[] for _ in prompts]
            session = kind(small_model(), n_slots)
            for index, new in generate_batch(session, prompts, settings, seed=3, sample_index=2):
                texts[index].append(new)
            found.append(texts)
        assert found[0] == found[1]

    def test_runs_grow_and_end_with_the_window_and_the_text(self, tiny_model: GPT) -> None:
        session = Sampling(tiny_model)
        list(generate_ids(session, [1], replace(GREEDY, max_new_tokens=30)))
        # 16 positions: 1 + 15 ids and one more from the full window, then again from 8 on.
        assert [n for _, n in session.runs] == [1, 2, 4, 8, 1, 8, 1, 5]

    def test_what_a_stop_string_cuts_off_is_not_shown(self, tiny_model: GPT) -> None:
        pieces = Pieces(tuple(b"%02d" % i for i in range(50)))
        settings = replace(GREEDY, temperature=1.0, max_new_tokens=30)
        whole = "".join(stream_text(TorchSession(tiny_model), pieces, [1], settings))
        stop = replace(settings, stop_strings=(whole[20:24],))
        text = "".join(stream_text(Sampling(tiny_model), pieces, [1], stop))
        assert text == whole[: whole.index(whole[20:24])]
        assert len(text) < len(whole)


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
