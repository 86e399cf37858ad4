"""The frozen dataclasses that every setting lives in, and the strict reading of them.

In: JSON, TOML tables, flags. Out: `ModelConfig` (architecture), `TrainConfig` and its three sisters
(training), `GenerationConfig` (sampling); an unknown key is an error with the nearest name.
Standard library only. Open model_config.py first, then train_config.py.
"""
