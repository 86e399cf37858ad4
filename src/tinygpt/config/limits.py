"""Names and sizes that several rooms agree on: engines, precisions, how much text is scored."""

__all__ = ["BENCH_BYTES", "ENGINES", "LENS_BYTES", "PRECISIONS", "SCORED_BYTES"]

ENGINES = ("auto", "native", "torch")
"""What computes a model; auto takes one of the others."""

PRECISIONS = ("exact", "int8", "int8-dynamic")
"""Of the native engine: the same results as float32; 8-bit weights; 8-bit products too."""

BENCH_BYTES = 8192
"""How much of python-docs `bench` scores with each engine."""

SCORED_BYTES = 32 * 1024
"""How much of a text is scored in bits per byte unless something else is asked for."""

LENS_BYTES = 2048
"""How much of a text the lens shows token by token: what a person can look over."""
