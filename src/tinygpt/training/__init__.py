"""The training loop, what one optimizer step is, and what a run measures of itself.

In: a model config, training settings, a corpus. Out: a generator of Step, Evaluated, Sampled and
Saved, and a run folder. Open train.py first, then loop.py and learner.py;
native_step.py is the step on the compiled engine.
"""
