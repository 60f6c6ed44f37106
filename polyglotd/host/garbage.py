"""How often Python looks for cycles. Its default counts 700 new objects, which one batch of events passes ten times;
a daemon that holds thousands of connections then walks all of them again and again, for cycles that are rare.
"""

import gc

YOUNG_OBJECTS = 50_000
SURVIVED_YOUNG = 20
SURVIVED_MIDDLE = 20


def collect_rarely() -> None:
    """Look less often, and never again at what was made up to now. Called once, when everything is imported."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, SURVIVED_YOUNG, SURVIVED_MIDDLE)
