"""Texts for training: named corpora, files of your own, their ids, and the windows a step reads.

In: a corpus name, a file or a folder of .txt, and a tokenizer. Out: a `Corpus`, its split at 90%,
and batches (B, T) that depend on (seed, step) alone. Open batches.py first, then corpora.py.
"""
