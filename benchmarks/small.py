"""Small networks: what does one step of a study cost, with the overhead of whoever runs it?"""

from __future__ import annotations

from .measure import Result, Settings, Team, say
from .workloads import SMALL, task

PEERS = (
    "numba",
    "c",
    "c_given",
    "jax",
    "jax_last",
    "numpy",
    "sklearn",
    "torch",
    "torch_fused",
    "torch_compile",
    "torch_loader",
)


def measure(settings: Settings) -> list[Result]:
    results = []
    with Team(PEERS, settings) as team:
        for workload in SMALL:
            say(f"{workload.name}: {workload.title}")
            results += team.measure("small", task(workload))
    return results


if __name__ == "__main__":
    import sys

    from .__main__ import main

    sys.exit(main(["small", *sys.argv[1:]]))
