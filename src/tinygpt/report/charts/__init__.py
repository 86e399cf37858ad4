"""The pictures and the page that every report shares: SVG, axes, bars, blocks, colours, templates.

In: numbers and their labels. Out: SVG and HTML texts that are escaped and self-contained. Knows no
kind of result. Open page.py first, then svg.py.
"""
