"""One module for each verb, imported when it is called; each holds a click command, `command`.

In: parsed options. Out: an exit code. Open train.py first.
"""
