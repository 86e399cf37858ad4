"""Text to token ids and back: characters, bytes and byte-level BPE, read from a folder or fitted.

In: a text, or a folder's tokenizer.json. Out: a `Tokenizer` with `encode`, `decode` and the
bytes of each token. Needs no torch. Open char_byte.py first, then bpe.py.
"""
