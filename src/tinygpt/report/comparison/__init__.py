"""A Comparison drawn: terminal, Markdown, HTML page.

In: a `Comparison`. Out: text. Rows and notes are written once and shared by every form.
Open rows.py first, then html.py.
"""
