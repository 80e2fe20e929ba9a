"""What the engine is to reach, and what stands in the way where it does not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["GOALS", "LIMITS", "Goal", "Verdict", "verdicts"]


@dataclass(frozen=True)
class Goal:
    """scratchnn on `workload` is `factor` times as fast as `peer`; or within `factor` of its time.

    For start-up, `seconds` is the most that the workload may take, and there is no peer.
    """

    workload: str
    peer: str = ""
    factor: float = 0.0
    within: bool = False
    seconds: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """A goal and what was measured: the ratio in the goal's own sense, or seconds."""

    goal: Goal
    measured: float
    passed: bool


def _faster(workload: str, **peers: float) -> list[Goal]:
    return [Goal(workload, peer, factor) for peer, factor in peers.items()]


GOALS = (
    *_faster("circles", torch=250, jax=5),
    Goal("circles", "c", 1.5, within=True),
    *_faster("moons", torch=60, jax=5),
    *_faster("drawing", torch=400, jax=6),
    *_faster("rings", torch=60, jax=3.5),
    Goal("rings", "c", 1.7, within=True),
    *_faster("sine", torch=90, jax=2),
    *_faster("784-128-10", torch=2, torch_fused=1.5, jax=1),
    *_faster("784-1024-1024-10", torch=1.2, torch_fused=1, jax=1),
    *_faster("many rings", many_vmap=6),
    Goal("import scratchnn", seconds=0.25),
    Goal("first epoch, warm cache", seconds=0.5),
    Goal("first epoch, cold compile", seconds=15),
)

# The goals were set from measurements on another machine.
LOOP = "The goal is from a machine on which the PyTorch loop costs more, against everything else. "
GENERIC = (
    "The engine is one compiled kernel for every network, which reads sizes, activations and losses from "
    "a plan; C has them as constants. "
)
# (workload, peer): why the goal is missed and what was tried. Shown only where it is missed. No figure is
# typed here: {a_over_b} becomes the measured ratio of the times of two peers on that workload.
LIMITS = {
    ("circles", "torch"): (
        LOOP + GENERIC + "The hand-written C kernel is {torch_over_c} as fast as the loop; the engine takes "
        "{numba_over_c} of its time, and part of that is the shuffle, which both draw: C that is "
        "given its batches takes {c_given_over_c} of the time of C that draws them."
    ),
    ("circles", "c"): GENERIC,
    ("moons", "torch"): (
        LOOP + "Softmax stands in the network and once more in the loss, and both are computed."
    ),
    ("drawing", "torch"): (
        LOOP + GENERIC + "The hand-written C kernel is {torch_over_c} as fast as the loop."
    ),
    ("drawing", "jax"): (GENERIC + "The hand-written C kernel is {jax_over_c} as fast as JAX."),
    ("rings", "torch"): (
        LOOP + "The hand-written C kernel itself is {torch_over_c} as fast as the loop. In C as in the "
        "engine the time goes into exponentials, divisions and logarithms, for every row and "
        "unit."
    ),
    ("rings", "c"): GENERIC,
    ("784-1024-1024-10", "jax"): (
        "Nearly the whole step is matrix products; the engine's are written on vector lanes, and "
        "JAX's are a little faster at this size."
    ),
}


def verdicts(results: Iterable[dict[str, Any]]) -> list[Verdict]:
    """Every goal that the results speak to. results: of `Result.as_dict`."""
    timed = {
        (r["workload"], r["peer"]): r["microseconds"]
        for r in results
        if r["status"] == "timed" and r["question"] != "scaling"
    }
    found = []
    for goal in GOALS:
        ours = timed.get((goal.workload, "numba")) or timed.get((goal.workload, "many_numba"))
        theirs = timed.get((goal.workload, goal.peer))
        if ours and goal.seconds:
            found.append(Verdict(goal, ours / 1e6, ours / 1e6 <= goal.seconds))
        elif ours and theirs:
            measured = ours / theirs if goal.within else theirs / ours
            found.append(
                Verdict(goal, measured, measured <= goal.factor if goal.within else measured >= goal.factor)
            )
    return found
