"""What the batcher writes a second for one stream and for several, and who waits how long.

    python -m benchmarks.serve_load [--shape distilgpt2] [--engine native] [--seconds 60]

Random weights; no HTTP. First a closed loop: one stream and 8, which take turns, median and range
of the rounds. Then an open one: requests arrive at random (Poisson) at 1, 2 and 5 times what the 8
streams finished, whether the batcher keeps up or not. Wall-clock time: a busy machine lowers all.
"""

import argparse
import random
import statistics
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace

from tinygpt.config.engine_options import EngineOptions
from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.model_config import PRESETS
from tinygpt.inference.language_model import LanguageModel
from tinygpt.inference.load import untrained
from tinygpt.serve.batching.batcher import Batcher
from tinygpt.serve.batching.jobs import Job, Piece, Refused
from tinygpt.tokenizers.char_byte import ByteTokenizer
from tinygpt.tokenizers.padding import PaddedTokenizer

ROUNDS, STREAMS = 5, 8
N_PROMPT, N_NEW = 32, 64


@dataclass
class Client:
    """Someone who waits for a text."""

    sent_s: float = field(default_factory=time.perf_counter)
    first_s: float = 0.0
    n_tokens: int = 0
    reason: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    def __call__(self, piece: Piece) -> None:
        """Note when the first token came, and the end."""
        if not self.n_tokens and piece.tokens:
            self.first_s = time.perf_counter() - self.sent_s
        self.n_tokens += len(piece.tokens)
        if piece.finish_reason:
            self.reason = piece.finish_reason
            self.ended.set()


def job(i: int, temperature: float) -> Job:
    """A request like the others, with a prompt of its own."""
    ids = random.Random(i).choices(range(60), k=N_PROMPT)
    settings = GenerationConfig(temperature=temperature, max_new_tokens=N_NEW)
    return Job(ids=tuple(ids), generation=settings, seed=i, client=f"client {i % 4}")


def streams(lm: LanguageModel, n: int, temperature: float) -> float:
    """Return the tokens a second of n clients who each wait for one text."""
    batcher, clients = Batcher(lm, n_slots=n), [Client() for _ in range(n)]
    began_s = time.perf_counter()
    for i, client in enumerate(clients):
        batcher.submit(job(i, temperature), client)
    for client in clients:
        client.ended.wait()
    elapsed_s = time.perf_counter() - began_s
    batcher.close(1)
    return sum(client.n_tokens for client in clients) / elapsed_s


def offer(lm: LanguageModel, rate: float, seconds: float) -> None:
    """Send requests at random times for a while, and print what became of them."""
    batcher, clients, answers = Batcher(lm, n_slots=STREAMS), [], Counter[str]()
    draws, longest, until_s = random.Random(0), 0, time.perf_counter() + seconds
    began_s = time.perf_counter()
    while time.perf_counter() < until_s:
        client = Client()
        try:
            batcher.submit(job(len(clients), 1.0), client)
            clients.append(client)
        except Refused as error:
            answers[type(error).__name__] += 1
        longest = max(longest, batcher.waiting)
        time.sleep(draws.expovariate(rate))
    for client in clients:
        client.ended.wait()
    elapsed_s = time.perf_counter() - began_s
    answers.update(client.reason for client in clients)
    waits = sorted(client.first_s for client in clients if client.reason == "length")
    good = answers["length"] * N_NEW / elapsed_s
    batcher.close(1)
    if waits:
        print(
            f"offered {rate:.2f} requests/s: {dict(answers)}, {good:,.0f} tokens/s, first token "
            f"after {statistics.median(waits):.2f} s (p99 {waits[int(0.99 * len(waits))]:.2f} s), "
            f"at most {longest} waited"
        )


def main() -> None:
    """Measure a shape."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", default="distilgpt2", choices=sorted(PRESETS))
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="exact")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each load; 0 leaves it out")
    given = parser.parse_args()
    config = replace(PRESETS[given.shape], bos_token_id=None, eos_token_id=None)
    lm = untrained(
        given.shape,
        config,
        PaddedTokenizer(ByteTokenizer(), config.vocab_size),
        "random weights are as fast",
        EngineOptions(engine=given.engine, precision=given.precision, threads=given.threads),
    )
    print(f"{given.shape}, {lm.engine}: {N_PROMPT} prompt tokens, {N_NEW} new ones")
    for temperature in (0.0, 1.0):
        found: dict[int, list[float]] = {1: [], STREAMS: []}
        for _ in range(1 + given.rounds):  # the first one warms up
            for n, rates in found.items():
                rates.append(streams(lm, n, temperature))
        for n, rates in found.items():
            print(
                f"temperature {temperature:g}, {n} stream{'s' * (n > 1)}: "
                f"{statistics.median(rates[1:]):,.0f} tokens/s "
                f"({min(rates[1:]):,.0f} to {max(rates[1:]):,.0f})"
            )
        one, several = (statistics.median(rates[1:]) for rates in found.values())
        print(f"temperature {temperature:g}: {several / one:.2f} times one stream")
    for times in (1, 2, 5) if given.seconds else ():
        offer(lm, times * several / N_NEW, given.seconds)


if __name__ == "__main__":
    main()
