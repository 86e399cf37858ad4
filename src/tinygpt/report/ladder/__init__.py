"""A Ladder drawn: terminal, Markdown, HTML page with the staircase.

In: a `Ladder`. Out: text. Open rows.py first, then staircase.py.
"""
