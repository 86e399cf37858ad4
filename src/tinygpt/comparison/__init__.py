"""Models side by side on the same bytes (`Comparison`), a text under one model or two (`Lens`).

In: opened models, or architectures without weights, and texts. Out: plain data with the reason
beside everything that could not be measured. Open compare.py first, then result.py and lens.py.
"""
