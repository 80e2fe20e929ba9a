"""python -m benchmarks: measure, show, keep."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from scratchnn.files.atomic import write_atomically

from .machine import facts
from .measure import QUICK, Settings, say
from .page import TITLES, write
from .peers import PEERS
from .pictures import draw
from .report import busy, goal_lines, limits, skipped, tables

QUESTIONS = tuple(TITLES)
SCHEMA = 1
ROOT = Path(__file__).resolve().parent.parent


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 1 if a peer ran but did not train what PyTorch trains."""
    options = _arguments().parse_args(argv)
    path = options.out / "benchmarks.json"
    document = _document(path)
    if options.page:
        if not document["sections"]:
            raise SystemExit(f"there is no {path}; run python -m benchmarks first")
        for written in write(document, options.root):
            print(written)
        return 0
    settings = _settings(options)
    options.out.mkdir(parents=True, exist_ok=True)
    untrained = 0
    for question in options.questions or QUESTIONS:
        section = measure(question, settings)
        document["sections"][question] = section
        write_atomically(path, f"{json.dumps(document, indent=1)}\n".encode())
        show(question, section["results"], settings.clock)
        untrained += sum(r["status"] == "untrained" for r in section["results"])
    for written in (path, *draw(document["sections"], options.out)):
        print(written)
    return 1 if untrained else 0


def measure(question: str, settings: Settings) -> dict[str, Any]:
    """One question: a section of the JSON file."""
    machine = facts()
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    say(f"\n{TITLES[question]}")
    results = import_module(f".{question}", __package__).measure(settings)
    return {
        "when": when,
        "command": " ".join(["python -m benchmarks", question, *_changed(settings)]),
        "settings": asdict(settings),
        "machine": machine,
        "results": [result.as_dict() for result in results],
    }


def show(question: str, results: list[dict[str, Any]], clock: str = "wall") -> None:
    """Print the tables, the goals and the reasons."""
    print(f"\n{TITLES[question]}")
    for table in tables(question, results):
        print(f"\n{table}")
    goals = goal_lines(results)
    if goals is not None:
        print(f"\n{goals}")
        for line in limits(results):
            print(f"  missed: {line}")
    for line in skipped(results):
        print(f"  left out: {line}")
    waited = busy(results)
    if waited and clock == "wall":
        print(
            f"  {waited} of {len(results)} waited for a core, beside other programs: take no figure from here"
        )


def _changed(settings: Settings) -> list[str]:
    """The options that matter to what a figure means, where they are not the usual ones."""
    return ["--quick"] * settings.quick + ["--clock cpu"] * (settings.clock == "cpu")


def _document(path: Path) -> dict[str, Any]:
    """What earlier runs of other questions have left, in this schema."""
    if path.is_file():
        document: dict[str, Any] = json.loads(path.read_text())
        if document.get("schema") == SCHEMA:
            return document
    return {"schema": SCHEMA, "sections": {}}


def _settings(options: argparse.Namespace) -> Settings:
    settings = replace(QUICK if options.quick else Settings(), clock=options.clock)
    if options.repeats is not None:
        settings = replace(settings, repeats=options.repeats)
    if options.seconds is not None:
        settings = replace(settings, seconds=options.seconds)
    if options.peers is not None:
        settings = replace(settings, peers=tuple(options.peers.split(",")))
    return settings


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="How fast scratchnn trains, beside its peers."
    )
    parser.add_argument("questions", nargs="*", type=_question, metavar="QUESTION", help=", ".join(QUESTIONS))
    parser.add_argument("--quick", action="store_true", help="go through it in seconds; figures mean nothing")
    parser.add_argument("--page", action="store_true", help="write docs/benchmarks.md from the last figures")
    parser.add_argument(
        "--repeats", type=_positive(int), help=f"timed runs of each peer ({Settings.repeats})"
    )
    parser.add_argument(
        "--seconds", type=_positive(float), help=f"of one timed run, about ({Settings.seconds})"
    )
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="wall, or cpu: processor time of all threads, for a machine that others use too (wall)",
    )
    parser.add_argument("--peers", type=_peers, help=f"only these, with commas between: {', '.join(PEERS)}")
    parser.add_argument("--out", type=Path, default=Path("benchmarks-out"), help="folder (benchmarks-out)")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    return parser


def _positive(kind: type) -> Any:
    def positive(text: str) -> Any:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    return positive


def _question(text: str) -> str:
    if text not in QUESTIONS:
        raise argparse.ArgumentTypeError(f"no question {text}; there are {', '.join(QUESTIONS)}")
    return text


def _peers(text: str) -> str:
    unknown = set(text.split(",")) - set(PEERS)
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no peer {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}"
        )
    return text


if __name__ == "__main__":
    sys.exit(main())
