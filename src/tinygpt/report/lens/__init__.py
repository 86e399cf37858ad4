"""A Lens drawn: a text coloured by its cost, in the terminal, as an HTML page, in a notebook.

In: a `Lens`. Out: text. Open cells.py first, then html.py.
"""
