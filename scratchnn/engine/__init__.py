"""The compiled reading: plans in, whole epochs of training in one call.

The only place that imports Numba, and it does so when the first run is prepared.

    plan      what the engine is told          run     the arrays of one training
    steps     the compiled call                layers, losses, updates, blocks: its parts
    lanes     vector registers as a type       words   exp, log, ... on them
    formulas  functional's formulas, compiled  cache   compiled code on disk
"""

from .plan import LoweringError

__all__ = ["LoweringError"]
