"""From TinyGPT to distilgpt2 one change at a time, each rung trained and measured.

In: the changes, a corpus and an equal budget. Out: ordinary runs in one folder and ladder.json; a
ladder that was interrupted goes on where it stopped. Open changes.py first, then climb.py.
"""
