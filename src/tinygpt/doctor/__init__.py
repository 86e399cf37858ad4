"""The config doctor: what each key of a mixed config is, what contradicts what, where it belongs.

HF keeps three things apart that small GPT repositories put into one dict: architecture
(config.json), sampling (generation_config.json) and training (TrainingArguments; our
training.json). In: a config in JSON, Python, TOML or YAML, read and never run. Out: a `Diagnosis`,
and the three files. Open diagnose.py first; table.py lists the known keys.
"""
