"""How often is a right network accused? `python tests/accusations.py 1000` counts."""

from __future__ import annotations

import sys

import numpy as np
from programs import HIDDEN, Choices, build

import scratchnn as snn


def accusations(seeds: range) -> list[str]:
    """The programs, among those of these seeds, whose right gradients are called wrong."""
    accused = []
    for seed in seeds:
        if seed % 100 == 0:
            print(seed, flush=True)
        choices = Choices(rng=np.random.default_rng(seed))
        program = build(choices, choices.one_of(["np.float32", "np.float64"]), HIDDEN)
        made = program.run()
        report = snn.diagnose(made["model"], made["X"], loss_fn=made["loss_fn"], target=made["y"])
        if not report.passed:
            accused.append(f"seed {seed}:\n{report}\n{program!r}")
    return accused


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    found = accusations(range(number))
    print("\n\n".join([*found, f"{len(found)} of {number} right networks accused"]))
