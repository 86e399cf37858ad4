"""The page of `tinygpt serve` and the data behind its tabs.

In: requests of the page under /page, and its files in static/. Out: JSON that the wings below
compute, one module for each tab. Open api.py first; static/main.js is where the page begins.
"""
