"""The Transformer, its names in Hugging Face's files, what it costs, and the seam to every engine.

In: a ModelConfig and ids. Out: logits; parameters, FLOPs and bytes by component. Knows nothing of
training, of files or of texts. Open gpt.py first: it is the whole model.
"""
