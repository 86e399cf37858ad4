"""Opening a model and writing text with it, by the native engine, by torch or by transformers.

In: a run folder, a HF folder or a hub name; a prompt and sampling settings. Out: a `LanguageModel`
that generates, streams and evaluates, and says which engine it took and why. Open load.py first;
sampling.py and generate.py are how a text is written.
"""
