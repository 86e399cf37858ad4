"""A Lens drawn: a text coloured by its cost, in the terminal or as an HTML page.

In: a `Lens`. Out: text. Open cells.py first, then html.py.
"""
