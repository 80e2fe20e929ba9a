"""Are wrong arguments refused in words? Every public name, called with hostile values.

    PYTHONPATH=. python tests/sweep.py                  # everything: some minutes
    PYTHONPATH=. python tests/sweep.py Linear fit       # names that contain one of these words
    PYTHONPATH=. python tests/sweep.py --accepted       # and the list of what was accepted

One argument of a call is hostile at a time, the others are valid. A call is refused where it raises, and
refused raw where nobody meant it: the error was not raised by a `raise` of this package (or of scikit-learn's
own checks), or its message names neither the object nor the argument. A crash of the interpreter and a call
without an end are raw, too. The calls run in processes of their own, with a bound on memory.
"""

from __future__ import annotations

import argparse
import json
import linecache
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
SECONDS = 10  # of the processor that a call may take
WAITING = 120  # seconds that it may wait, for a file or another process
MEMORY = 8 * 2**30  # bytes of address space a process may have
MEANT = ("scratchnn", "reference", "sklearn")  # packages whose `raise` is meant for users


@dataclass(frozen=True)
class Call:
    """What came of one call.

    Attributes:
        outcome: "accepted", "refused" or "raw". error: its type and message. site: where it was raised.
    """

    subject: str
    argument: str
    value: str
    outcome: str
    error: str = ""
    site: str = ""


class Endless(BaseException):
    """A call took too long."""


def calls(words: Sequence[str] = (), sample: int = 0) -> list[tuple[Any, str, str]]:
    """(subject, argument, name of the hostile value) in a fixed order, or a sample, the same one always."""
    from sweep_subjects import subjects
    from sweep_values import VALUES

    chosen = [s for s in subjects() if not words or any(word in s.name for word in words)]
    every = [(s, argument, value) for s in chosen for argument in s.arguments for value in VALUES]
    return random.Random(0).sample(every, sample) if sample else every


def run(chosen: Sequence[tuple[Any, str, str]]) -> Iterator[Call]:
    """Make the calls, here."""
    from sweep_values import VALUES

    signal.signal(signal.SIGPROF, _ring)
    signal.signal(signal.SIGALRM, _ring)
    for subject in {s.name: s for s, _, _ in chosen if s.name.startswith("fit_")}.values():
        subject.call()  # compiles, outside of any call's time
    for subject, argument, name in chosen:
        _bound(SECONDS, WAITING)
        try:
            subject.call(argument, VALUES[name]())
            outcome = ("accepted",)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            _bound(0, 0)
            outcome = _judge(error, (*subject.owners, argument, *subject.others()))
        finally:
            _bound(0, 0)
        _clear()
        yield Call(subject.name, argument, name, *outcome)


def _clear() -> None:
    """Leave nothing of one call on the disk for the next, but what the sweep itself made."""
    for entry in os.scandir("."):
        if not entry.name.startswith(("saved", "kept")):
            shutil.rmtree(entry.path) if entry.is_dir() else os.unlink(entry.path)


def _bound(seconds: float, waiting: int) -> None:
    """Ring after so much time of the processor, whatever else runs meanwhile, or so much waiting."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(waiting)


def _ring(*_: Any) -> None:
    raise Endless


def _judge(error: BaseException, names: Sequence[str]) -> tuple[str, ...]:
    frames = traceback.extract_tb(error.__traceback__)
    place = frames[-1]
    inside = [f for f in frames if any(f"/{package}/" in f.filename for package in MEANT[:2])]
    site = inside[-1] if inside else place
    where = f"{Path(site.filename).relative_to(ROOT) if inside else site.filename}:{site.lineno} {site.name}"
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, Endless):
        return "raw", f"took more than {SECONDS} s", where
    meant = any(f"/{package}/" in place.filename for package in MEANT) and _raises(place)
    named = any(
        re.search(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", str(error), re.IGNORECASE)
        for name in names
    )
    missing = isinstance(error, OSError) and error.filename is not None  # names the file
    return "refused" if (meant and named) or missing else "raw", text[:300], where


def _raises(frame: Any) -> bool:
    """Whether this line, or the statement that it ends, is a `raise`."""
    last = frame.end_lineno or frame.lineno
    return any("raise" in linecache.getline(frame.filename, n) for n in range(frame.lineno, last + 1))


# ---- processes --------------------------------------------------------------------------------------


def sweep(words: Sequence[str] = (), sample: int = 0) -> list[Call]:
    """Make all calls, each group in a process that is started anew where one dies."""
    every = calls(words, sample)
    found: list[Call] = []
    start = 0
    while start < len(every):
        done = _child(words, sample, start)
        found += done
        start += len(done)
        if start < len(every) and len(done) < GROUP:
            subject, argument, value = every[start]
            found.append(Call(subject.name, argument, value, "raw", "the interpreter ended", "a crash"))
            start += 1
    return found


GROUP = 2000


def _child(words: Sequence[str], sample: int, start: int) -> list[Call]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--child", str(start), "--sample", str(sample), *words]
        ran = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return [Call(**json.loads(line)) for line in ran.stdout.decode().splitlines()]


def child(words: Sequence[str], sample: int, start: int) -> None:
    """Make a group of calls and print what came of them, a line each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    for call in run(calls(words, sample)[start : start + GROUP]):
        print(json.dumps(asdict(call)), file=out)


# ---- what is printed --------------------------------------------------------------------------------


def report(found: Sequence[Call]) -> str:
    """Counts, and the sites of raw errors."""
    refused = [call for call in found if call.outcome != "accepted"]
    raw = [call for call in found if call.outcome == "raw"]
    lines = [
        f"{len(found)} calls, {len(refused)} refused, {len(raw)} of them raw "
        f"({len(raw) / max(1, len(refused)):.2%}) at {len({call.site for call in raw})} sites"
    ]
    for site, count in Counter(call.site for call in raw).most_common():
        example = next(call for call in raw if call.site == site)
        arguments = Counter(f"{c.subject}({c.argument})" for c in raw if c.site == site)
        lines.append(f"{count:5} {site}: {example.error[:90]!r} from {example.value}")
        lines.append(f"      {', '.join(f'{name} {n}' for name, n in arguments.most_common(6))}")
    return "\n".join(lines)


def unjustified(found: Sequence[Call]) -> list[Call]:
    """What was accepted and nobody has said why."""
    from sweep_accepted import reason
    from sweep_subjects import subjects

    by_name = {subject.name: subject for subject in subjects()}
    taken = [call for call in found if call.outcome == "accepted"]
    return [call for call in taken if reason(by_name[call.subject], call.argument, call.value) is None]


def accepted(found: Sequence[Call]) -> str:
    """What was accepted, by its reason."""
    from sweep_accepted import reason
    from sweep_subjects import subjects

    by_name = {subject.name: subject for subject in subjects()}
    groups: dict[str, Counter[str]] = {}
    for call in found:
        if call.outcome == "accepted":
            why = reason(by_name[call.subject], call.argument, call.value) or "NO REASON GIVEN"
            groups.setdefault(why, Counter())[call.value] += 1
    lines = []
    for why, values in sorted(groups.items(), key=lambda item: -item[1].total()):
        lines.append(f"{values.total():5} {why}: {', '.join(f'{v} {n}' for v, n in values.most_common())}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="parts of the names to sweep; all without")
    parser.add_argument("--sample", type=int, default=0, help="make only so many calls, drawn at random")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", help="write every call to this file")
    parser.add_argument("--accepted", action="store_true", help="list what was accepted")
    options = parser.parse_args()
    if options.child is not None:
        child(options.words, options.sample, options.child)
        return
    found = sweep(options.words, options.sample)
    print(report(found))
    if options.accepted:
        print(accepted(found))
    if options.json:
        Path(options.json).write_text(json.dumps([asdict(call) for call in found]))


if __name__ == "__main__":
    main()
