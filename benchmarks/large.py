"""Large networks: how near is a step to the machine's matrix product?"""

from __future__ import annotations

from dataclasses import replace

from .measure import Result, Settings, Team, say
from .workloads import LARGE, task

PEERS = (
    "numba",
    "jax",
    "jax_last",
    "numpy",
    "sklearn",
    "torch",
    "torch_fused",
    "torch_compile",
    "torch_loader",
)
QUICK_BATCHES = 2


def measure(settings: Settings) -> list[Result]:
    results = []
    with Team(PEERS, settings) as team:
        for workload in LARGE:
            if settings.quick and workload.batch:
                workload = replace(workload, rows=QUICK_BATCHES * workload.batch)
            say(f"{workload.name}: {workload.title}")
            results += team.measure("large", task(workload))
    return results


if __name__ == "__main__":
    import sys

    from .__main__ import main

    sys.exit(main(["large", *sys.argv[1:]]))
