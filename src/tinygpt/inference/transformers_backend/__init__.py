"""Models of other families (Llama, Qwen, GPT-NeoX ...) as LanguageModels, run by transformers.

In: a folder whose files are checked before transformers is imported (the extra `transformers`).
Out: a LanguageModel with its tokenizer held to every byte and its costs counted on shapes. Open
open.py first.
"""
