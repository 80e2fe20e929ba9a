"""Many networks: a thousand of them on the rings, from different weights, in one call on two cores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import scratchnn as snn

from .measure import Result, Settings, Team, say
from .workloads import RINGS, Task, task

PEERS = ("many_numba", "many_jax", "many_vmap")
NETWORKS, QUICK_NETWORKS, CORES = 1000, 8, 2
SECONDS, REPEATS = 3.0, 3  # setting up a thousand networks must be a small part of a run, as it is in use
CHECK_EPOCHS = 20


def many(networks: int) -> Task:
    """The rings task from `networks` starts: weight (K, M, D) and bias (K, M)."""
    workload = replace(RINGS, check_epochs=CHECK_EPOCHS)
    starts = []
    for seed in range(networks):
        snn.manual_seed(seed)
        starts.append([parameter.data for parameter in workload.model().parameters()])
    start = [np.stack(arrays) for arrays in zip(*starts, strict=True)]
    return replace(task(workload, threads=CORES), start=start)


def measure(settings: Settings) -> list[Result]:
    networks = QUICK_NETWORKS if settings.quick else NETWORKS
    if not settings.quick:
        settings = replace(settings, seconds=SECONDS, repeats=min(settings.repeats, REPEATS))
    say(f"{networks} rings networks, {CORES} threads")
    with Team(PEERS, settings) as team:
        results = team.measure("many", many(networks), size={"networks": networks}, networks=networks)
    for result in results:
        result.workload = "many rings"
    return results


if __name__ == "__main__":
    import sys

    from .__main__ import main

    sys.exit(main(["many", *sys.argv[1:]]))
