"""Measurements of what the project promises, as ratios between things measured side by side in one run.

`python -m bench` runs them all, `python -m bench http_publish` one. Each prints how busy the rest of the machine was:
a figure from a busy machine says little. Nothing here is a test.
"""
