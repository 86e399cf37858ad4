"""From a text to nats per token to bits per byte, and what such a figure is worth.

In: a model or an engine's session, ids or a text with its unscored prefix. Out: an `Evaluation`,
the cost of each token, intervals of differences, n-gram and compressor baselines, overlap with the
training text. Open bits_per_byte.py first, then token_nll.py.
"""
