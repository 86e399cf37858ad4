"""Texts that tokenizers get wrong, and a small BPE: what the tests of all tokenizers share."""

import random
import re

import numpy as np
from hypothesis import strategies as st

from tinygpt.tokenizers.bpe import BPETokenizer
from tinygpt.tokenizers.char_byte import TextStream, Tokenizer

EOT = "<|endoftext|>"
PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
LETTERS = {b: chr(b) for b in PRINTABLE}
LETTERS |= {b: chr(256 + i) for i, b in enumerate(b for b in range(256) if b not in LETTERS)}
MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("Ġ", "Ġ"), ("Ċ", "Ċ"), ("Ã", "©"), ("ð", "Ł")]

HARD = [
    "", " ", "  ", "   a", "a   ", " a ", "\t", "\t\ta", " \t \n ", "\n", "\n\n\n", "\r\n",
    "a\r\nb\r\n", "\r", "a\n b", "a \nb", "a  \n  b", "a\n\n\nb", " \n", "\n ", "\0", "a\0b",
    "\x00\x01\x02\x7f", "\ufeff", "\ufeffHello", "Hello\ufeff",
    "I'm you're he'll they've she'd it's don't", "I'M YOU'RE DON'T", "'s 't 're 've 'm 'll 'd",
    "''s", "' s", "’s", "o'clock's", "'''", "it''s", "''''ll", "0", "00", "1234567890",
    "3.14159", "1,000,000", "٣٤٥", "½²³", "Ⅷ", "a1b2c3", "1st 2nd", "$5.00!", "👍",
    "👩\u200d👩\u200d👧\u200d👦", "🏳️\u200d🌈", "👍🏽👍🏿", "🇩🇪🇫🇷", "a😀b", "😀 😀", "𝄞𝔘𝔫𝔦", "𐍈",
    "\U0010ffff", "🫠", "e\u0301", "é", "n\u0303o", "a\u0300\u0301\u0302\u0303", "\u0301",
    " \u0301", "Z̸̡͎a̵l̶g̴o̷", "ﬁ", "İı", "日本語", "中文 字符", "한국어", "ひらがな カタカナ",
    "。、！", "𠮷野家", "שלום עולם", "مرحبا بالعالم", "नमस्ते", "ไทย", "\u202eabc\u202c",
    "a\u200bb", "a\u200db", "\u2028", "a\u2028b", "\u2029", "\x85", "a\x85b", "\xa0", "a\xa0b",
    "\u3000全角", "\u1680", "\u180e", "\u2009a", "\u202f", "\x1c\x1d\x1e\x1f", "\x0b\x0c",
    "a\x0b b", "\xad", EOT, f"a{EOT}b", f" {EOT} ", f"{EOT}{EOT}", f"{EOT}\n{EOT}",
    "<|endoftext|", "|endoftext|>", "<|ENDOFTEXT|>", f"<|endof{EOT}text|>", f"\n\n{EOT}",
    f"{EOT}the", f"the{EOT}", f"x  {EOT}  x", "<|im_start|>", "<pad>", "<unk>", "a" * 5000,
    " " * 5000, "\n" * 3000, "^" * 3000, "😀" * 1000, "é" * 1000, "ab" * 2500, "1" * 3000,
    " a" * 2500, "a " * 2500, "\r\n" * 1500, "\t" * 1001, "." * 999, "'" * 999, "\u0301" * 500,
    "\0" * 500, "x = [1,2,3];\n\tif (x != y) {\n\t\treturn;\n\t}\n",
    "https://example.org/a?b=c&d=%20#e", "<p>&amp;</p>",
    "def f(x):\n    return x ** 2  # squared\n", "C:\\path\\file", "--- +++ ===", "ÃƒÂ©",
    "Ġ Ċ Ġthe", "ĠĠ", "word" + " " * 7 + "word", "word" + "\n" * 7 + "word", "word \n \n word",
    "trailing   ", "trailing\t\n",
]  # fmt: skip
PIECES = [
    " ", "  ", "    ", "\n", "\n\n", "\r\n", "\t", "\0", "\ufeff", "\xa0", "\x85", "\u2028",
    "\u3000", "\u0301", "🏳️\u200d🌈",
    "'s", "'ll", "'", "n't", "the", " the", " The", "ing", "THE", "Hello", " world",
    ".", ",", "...", "!?", "--", "7", "42", " 1999", "٣", "½", "é", "e\u0301", "ß", "ſ", "日本",
    "語", "한국", "שלום", " مرحبا", "नमस्ते", "😀", "👩\u200d👩\u200d👧", "🏽", "𝄞", "\u200d",
    "\u202e", EOT, f" {EOT}", "<|", "|>", "endoftext", "a" * 50, " " * 50,
]  # fmt: skip

texts = st.text(st.characters(exclude_categories=["Cs"]))
nasty = st.lists(st.sampled_from(PIECES)).map("".join)


def tiny_bpe(special: tuple[str, ...] = (EOT,)) -> BPETokenizer:
    """256 bytes, seven merges, then the special tokens."""
    tokens = [*LETTERS.values(), *(a + b for a, b in MERGES)]
    vocab = {token: i for i, token in enumerate(tokens)}
    return BPETokenizer(vocab, MERGES, {token: len(tokens) + i for i, token in enumerate(special)})


BPE = tiny_bpe()


def hard_strings(rng: random.Random, n: int) -> list[str]:
    """Return n different strings: the list above, mixtures, and random code points."""
    strings = dict.fromkeys(HARD[:n])
    while len(strings) < n:
        points = [rng.choice([0x80, 0x800, 0x3100, 0xD800, 0x20000]) for _ in range(12)]
        code_points = "".join(chr(rng.randrange(top)) for top in points)
        code_points = re.sub("[\ud800-\udfff]", "", code_points)
        mixture = "".join(rng.choices(PIECES, k=rng.randint(2, 15)))
        strings[mixture if rng.random() < 0.7 else code_points] = None
    return list(strings)


def check_lossless(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert ids.ndim == 1
    assert tokenizer.decode(ids) == text
    assert b"".join(tokenizer.token_bytes[i] for i in ids) == text.encode()


def check_any_ids(tokenizer: Tokenizer, ids: list[int]) -> None:
    """Ids that no text gives, such as lone continuation bytes, keep their bytes."""
    data = b"".join(tokenizer.token_bytes[i] for i in ids)
    assert tokenizer.decode(ids) == data.decode("utf-8", "replace")
    stream = TextStream(tokenizer)
    assert "".join([*map(stream.push, ids), stream.finish()]) == tokenizer.decode(ids)
