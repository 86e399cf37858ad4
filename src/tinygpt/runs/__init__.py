"""A run's folder: settings, checkpoints, logs, lock and model card.

In: what a training run decides and yields. Out: files that another process, a later version or
transformers can open at every moment. Open folder.py first, then checkpoint.py.
"""
