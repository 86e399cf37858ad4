"""How fast an opened model is here, how much memory it takes, and what a precision costs.

In: a LanguageModel. Out: prefill and decode speeds with their spread, peak memory, the limit that
memory bandwidth sets, bits per byte of each precision. Open speed.py first.
"""
