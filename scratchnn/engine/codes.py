"""Names of the integers that Python and the kernel share. Nothing here imports Numba."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Column", "Setting", "Status"]


class Column(IntEnum):
    """Columns of the layer table. Buffers are positions in M; -1: the input, or none."""

    OP = 0
    INPUTS = 1
    OUTPUTS = 2
    WEIGHT = 3
    BIAS = 4
    X = 5
    Y = 6
    DY = 7
    DX = 8
    ADD = 9  # 1: the weights' gradient already holds that of another use of them
    FACTOR = 10
    STRIDE = 12  # from one row of the weights to the next
    DRAW = 11  # dropout's first column among a row's uniform draws; -1: nothing is drawn, all is dropped


class Setting(IntEnum):
    """Entries of the settings vector."""

    ROWS = 0  # of an epoch
    BATCH = 1
    TILE_PANELS = 2
    TARGET_ROWS = 3
    LOSS = 4
    MEAN = 5  # 0: a sum, 1: a mean, 2: a mean over rows whatever their terms and classes
    IGNORE_INDEX = 6
    EVEN_CLASSES = 7  # every class weighs 1
    RULE = 8
    INPUT = 9
    TARGET = 10
    RESIDENT = 11  # all tiles are in M already, in the order of the data
    DRAWS = 12  # uniform draws a row
    DECISIONS = 13  # count them
    BY_CLASS = 14  # a decision is the largest output
    ORDERED = 15  # rows come in an order of their own
    FEATURES = 16
    WEIGHTED = 17  # targets end in the weights of their rows
    GROUPS = 18  # of the optimizer, where every step of the run has its own rates; 0: one table for all
    EVERY = 19  # record after every step whose number is a multiple of this; 0: never
    BEFORE = 20  # steps that a recording counts before the run's first
    FRESH = 21  # the data may have changed since the last call; the kernel looks, and sets it back
    EVEN_ROWS = 22  # every row of the target counts 1; set where FRESH
    WRONG_STEP = 23  # the first of an epoch whose batch has a class that is not there, or -1; where RESIDENT
    ASIDE = 24  # keep what the last step of the call starts from


class Status(IntEnum):
    DONE = 0
    DIVERGED = 1  # the loss is not finite
    NO_PROBABILITY = 2
    NO_CLASS = 3  # a class index that is none
    NO_NUMBER = 4  # the step is made, and a parameter is not finite any more
