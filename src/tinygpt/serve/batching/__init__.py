"""Continuous batching: many requests written at once by one model.

In: jobs (prompts, settings, deadlines) from any number of threads. Out: pieces of text as they are
written. Knows nothing of HTTP. Open batcher.py first, then scheduler.py.
"""
