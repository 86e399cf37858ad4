"""What a corpus's held-out part costs by every yardstick, and what it shares with the rest.

    python -m benchmarks.yardsticks [CORPUS] [--bytes 32768]

Prints a Markdown table in bits per byte with the seconds of all, the overlap of the scored text
with the training part, and the paired interval of the n-gram against the next shorter ones.
"""

import argparse
import time

import numpy as np

from tinygpt.data.batches import training_characters
from tinygpt.data.corpora import load_corpus
from tinygpt.evaluation.baselines import TRAINING_BYTES, measure_yardsticks
from tinygpt.evaluation.bootstrap import cut_into_blocks, paired_differences
from tinygpt.evaluation.eval_texts import HELD_OUT_PREFIX_BYTES, first_bytes
from tinygpt.evaluation.ngram import choose_order, ngram_nats
from tinygpt.evaluation.overlap import find_overlap


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", nargs="?", default="tinyshakespeare")
    parser.add_argument("--bytes", type=int, default=32 * 1024)
    given = parser.parse_args()
    corpus = load_corpus(given.corpus)
    n = training_characters(len(corpus.text))
    train, text = corpus.part(0, n), first_bytes(corpus.part(n), given.bytes)
    started_s = time.perf_counter()
    found = measure_yardsticks(text, train, prefix=train[-HELD_OUT_PREFIX_BYTES:])
    print("| yardstick | bits per byte | trained on | how |\n|---|---|---|---|")
    for y in found:
        print(f"| {y.name} | {y.bits_per_byte:.4f} | {y.trained_on or 'nothing'} | {y.settings} |")
    print(f"\nYardsticks: {time.perf_counter() - started_s:.1f} s")
    started_s = time.perf_counter()
    shared = find_overlap(text, train)
    print(
        f"Overlap: {shared.n_shared_grams:,} of {shared.n_grams:,} {shared.span}-grams, longest "
        f"run {len(shared.longest)} characters; {time.perf_counter() - started_s:.1f} s"
    )
    known, scored = train.encode()[-TRAINING_BYTES:], text.encode()
    order = choose_order(known)
    blocks = {
        f"{k}-gram": cut_into_blocks(ngram_nats(known, known, scored, k), np.ones(len(scored)))
        for k in range(max(1, order - 2), order + 1)
    }
    for difference in paired_differences(blocks):
        print(difference)


if __name__ == "__main__":
    main()
