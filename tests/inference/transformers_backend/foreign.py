"""Tiny models of other families than GPT-2, as transformers and tokenizers write them."""

import json
from pathlib import Path
from typing import Any

TEXT = "".join(
    f"{a} {b} sat on the {c}, and the {b} said: it's {a}!\n\tIndented  twice.\n"
    for a in ("the small", "a", "no old")
    for b in ("cat", "dog", "crow")
    for c in ("mat", "log", "wall")
)
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 48,
}


def write_foreign(folder: Path, family: str, **keys: Any) -> Path:
    """Write a model of random weights with a tokenizer trained on TEXT."""
    import torch
    import transformers

    sentencepiece = family == "llama"
    backend = like_sentencepiece() if sentencepiece else byte_level()
    special = {"bos_token": "<s>", "eos_token": "</s>"} if sentencepiece else {}
    ids = {"bos_token_id": 1, "eos_token_id": 2} if sentencepiece else {"eos_token_id": 0}
    given = {"vocab_size": backend.get_vocab_size(), "initializer_range": 0.3, **ids, **SIZES}
    if family in ("llama", "qwen2", "mixtral"):
        given["num_key_value_heads"] = 2
    config = transformers.AutoConfig.for_model(family, **given | keys)
    level = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    reader = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    reader.save_pretrained(folder)
    transformers.utils.logging.enable_progress_bar()
    transformers.utils.logging.set_verbosity(level)
    return folder


def byte_level(**options: Any) -> Any:
    """GPT-2's kind of tokenizer, trained by the tokenizers library."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(**{"add_prefix_space": False} | options)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=alphabet,
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    made.train_from_iterator([TEXT], trainer)
    return made


def like_sentencepiece(metaspace: bool = False) -> Any:
    """Llama's kind, in its older form or, with `metaspace`, in its newer one."""
    from tokenizers.trainers import BpeTrainer

    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    special = ["<unk>", "<s>", "</s>"]
    if metaspace:
        made.pre_tokenizer = pre_tokenizers.Metaspace()
    else:
        steps = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        made.normalizer = normalizers.Sequence(steps)
    letters = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = BpeTrainer(vocab_size=360, special_tokens=special + letters, show_progress=False)
    made.train_from_iterator(TEXT.splitlines(), trainer)
    data = json.loads(made.to_str())
    data["added_tokens"] = data["added_tokens"][: len(special)]  # bytes are tokens like any other
    made = Tokenizer.from_str(json.dumps(data))
    replace = decoders.Metaspace() if metaspace else decoders.Replace("▁", " ")
    made.decoder = decoders.Sequence([replace, decoders.ByteFallback(), decoders.Fuse()])
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return made
