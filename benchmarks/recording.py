"""What a recording costs: the circles study on the compiled engine, recorded and not, in turns.

    python -m benchmarks.recording [--epochs 100] [--repeats 15]

The same run each time, and every run must end in the same parameters, bit for bit. Of each way the fastest
round counts, as a ratio to the plain run's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import scratchnn as snn
from scratchnn.studies import circles


def run(
    points: tuple[Any, Any], epochs: int, engine: str, recording: snn.Recording | None
) -> tuple[float, bytes]:
    """Seconds, and the bytes of the parameters."""
    model, loss_fn, optimizer, loader = circles.start(
        hidden=10, lr=0.1, batch_size=64, seed=0, dtype="float32", points=points
    )
    callbacks = [] if recording is None else [recording]
    started = time.perf_counter()
    snn.fit(model, loss_fn, optimizer, loader, epochs, engine=engine, callbacks=callbacks, progress=False)
    seconds = time.perf_counter() - started
    return seconds, b"".join(p.data.tobytes() for p in model.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=15)
    chosen = parser.parse_args()
    points = circles.data()[::2]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "run.rec"
        ways: dict[str, Callable[[], snn.Recording | None]] = {
            "plain": lambda: None,
            "every step": snn.Recording,
            "every 10th step": lambda: snn.Recording(every=10),
            "every step, in a file": lambda: snn.Recording(path=file),
        }
        for engine, epochs, repeats in (
            ("numba", chosen.epochs, chosen.repeats),
            ("numpy", max(1, chosen.epochs // 20), max(1, chosen.repeats // 3)),
        ):
            seconds: dict[str, list[float]] = {way: [] for way in ways}
            ends, kept = set(), {}
            for round_ in range(repeats + 1):  # the first one loads the engine
                for way, make in ways.items():
                    recording = make()
                    took, end = run(points, epochs, engine, recording)
                    ends.add(end)
                    kept[way] = recording
                    if round_:
                        seconds[way].append(took)
            steps = epochs * -(-len(points[0]) // 64)
            equal = "all ends equal, bit for bit" if len(ends) == 1 else "ENDS NOT EQUAL"
            print(f"circles, {engine}, {steps:,} steps, {repeats} rounds; {equal}")
            plain = min(seconds["plain"])
            for way, times in seconds.items():
                best, recording = min(times), kept[way]
                what = "" if recording is None else f"{recording._store.nbytes / 2**20:8.2f} MiB"
                print(f"  {way:22} {1e6 * best / steps:8.2f} us a step  {best / plain:5.2f} x{what}")


if __name__ == "__main__":
    main()
