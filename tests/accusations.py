"""How often is the doctor wrong?

`python tests/accusations.py 1000` counts right networks that are called wrong, or undecided: the library's
own, and a user's in rows, columns and (B, T, D). `python tests/accusations.py 1000 wrong` draws wrong ones
and counts what they are called: with one mistake, with two, and with one that is in no catalogue.
"""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
from drawn_networks import LAYOUTS, draw
from programs import HIDDEN, Choices, build

import scratchnn as snn
from scratchnn.doctor import Diagnosis


def accusations(seeds: range) -> tuple[list[str], list[str]]:
    """The programs of these seeds whose right gradients are called wrong, and those left undecided."""
    accused: list[str] = []
    undecided: list[str] = []
    for seed in seeds:
        if seed % 100 == 0:
            print(seed, file=sys.stderr, flush=True)
        choices = Choices(rng=np.random.default_rng(seed))
        program = build(choices, choices.one_of(["np.float32", "np.float64"]), HIDDEN)
        made = program.run()
        diagnosis = snn.diagnose(made["model"], made["X"], loss_fn=made["loss_fn"], target=made["y"])
        if not diagnosis:
            (accused if calls_wrong(diagnosis) else undecided).append(
                f"seed {seed}:\n{diagnosis}\n{program!r}"
            )
    return accused, undecided


def calls_wrong(diagnosis: Diagnosis) -> bool:
    """It fails, and does not only leave something undecided."""
    return diagnosis.report is None or diagnosis.report.verdict == "FAIL"


def accusations_of_a_user(seeds: range, layout: str) -> tuple[list[str], list[str]]:
    """The same of networks that know nothing of the library."""
    accused: list[str] = []
    undecided: list[str] = []
    for seed in seeds:
        if seed % 100 == 0:
            print(layout, seed, file=sys.stderr, flush=True)
        drawn = draw(seed, 0, layout)
        diagnosis = snn.diagnose(drawn.subject, drawn.x, loss_fn=drawn.loss_fn, target=drawn.target)
        if not diagnosis:
            (accused if calls_wrong(diagnosis) else undecided).append(
                f"seed {seed}: {drawn.story}\n{diagnosis}"
            )
    return accused, undecided


def attribution(seed: int, mistakes: int, unknown: bool = False) -> tuple[str, str]:
    """(a verdict on what the doctor says of the network of this seed, a line about it).

    "named": all mistakes and no other. "in part": some of them and no other, the rest said to be unknown.
    "another set": the same numbers come from other mistakes, and the true ones are listed as well.
    "nothing": no name. "WRONG": a name that is none of the mistakes made. "no effect": the gradient is right.
    """
    drawn = draw(seed, mistakes, unknown=unknown)
    diagnosis = snn.diagnose(drawn.subject, drawn.x, loss_fn=drawn.loss_fn, target=drawn.target)
    true, said = set(drawn.names), set(diagnosis.mistakes)
    line = f"seed {seed}: {drawn.story}: said {sorted(said)}, unexplained {diagnosis.unexplained}"
    if diagnosis.passed:
        return "no effect", line
    if not said:
        return "nothing", line
    if unknown:
        return "WRONG", line
    if said == true:
        return "named" if not diagnosis.unexplained else "in part", line
    if any({f.name for f in others} == true for others in diagnosis.alternatives):
        return "another set", line
    return ("in part" if said < true else "WRONG"), line


def report(title: str, number: int, found: tuple[list[str], list[str]]) -> None:
    accused, undecided = found
    print("\n\n".join([*accused, *undecided]))
    print(
        f"{title}: of {number} right networks {len(accused)} accused, {len(undecided)} undecided", flush=True
    )


def main(number: int, wrong: bool) -> None:
    seeds = range(number)
    if not wrong:
        report("the library's", number, accusations(seeds))
        for layout in LAYOUTS:
            report(layout, number, accusations_of_a_user(seeds, layout))
        return
    for title, mistakes, unknown in (("one", 1, False), ("two", 2, False), ("not in the catalogue", 1, True)):
        counts: Counter[str] = Counter()
        for seed in seeds:
            verdict, line = attribution(seed, mistakes, unknown)
            counts[verdict] += 1
            if verdict in ("WRONG", "nothing", "in part") and not (unknown and verdict == "nothing"):
                print(f"{verdict}: {line}")
        print(f"{title}: {', '.join(f'{v} {k}' for k, v in counts.most_common())}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, wrong="wrong" in sys.argv[2:])
