"""Results as tables: ratios first, microseconds second, goals beside them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from .goals import LIMITS, Verdict, verdicts
from .peers import PEERS

__all__ = ["Table", "busy", "goal_lines", "skipped", "tables"]

OURS = ("numba", "many_numba")
AXES = {
    "batch": "rows in a batch",
    "width": "units in both hidden layers",
    "depth": "hidden layers of 16 units",
    "rows": "rows of data",
}
BUSY = 0.9  # less processor time than this in a second of the wall clock, and a peer waited for a core

Row = dict[str, Any]


class Table:
    """A title, a header and rows of text; prints plainly or as Markdown."""

    def __init__(self, title: str, header: list[str], rows: list[list[str]]) -> None:
        self.title, self.header, self.rows = title, header, rows

    def __str__(self) -> str:
        widths = [max(len(cell) for cell in column) for column in zip(self.header, *self.rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if place == 0 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in (self.header, *self.rows)
        ]
        return "\n".join([self.title, *lines])

    def markdown(self) -> str:
        rule = ["---", *["---:"] * (len(self.header) - 1)]
        return "\n".join(f"| {' | '.join(row)} |" for row in (self.header, rule, *self.rows))


def tables(question: str, results: list[Row]) -> list[Table]:
    """The tables of one question."""
    if question == "startup":
        rows = [[r["label"], r["workload"], _seconds(r)] for r in results if r["status"] == "timed"]
        return [Table("Seconds in a new process", ["who", "what", "seconds"], rows)]
    if question == "scaling":
        return [
            table
            for axis in AXES
            if (chosen := [r for r in results if axis in r["size"]])
            for table in _pair(chosen, AXES[axis], lambda r, axis=axis: f"{r['size'][axis]:,}")
        ]
    unit = "per network and step" if question == "many" else "per step"
    return _pair(results, "", lambda r: f"{r['workload']}: {r['title']}", unit)


def _pair(results: list[Row], corner: str, name: Any, unit: str = "per step") -> list[Table]:
    """Ratios to ours, and microseconds."""
    timed = [r for r in results if r["status"] == "timed"]
    names = list(dict.fromkeys(name(r) for r in results))
    peers = list(dict.fromkeys(r["peer"] for r in timed))
    cost = {(name(r), r["peer"]): r["microseconds"] for r in timed}
    ours = next((key for key in OURS if key in peers), None)
    header = [corner or " ", *(PEERS[key][0] for key in peers)]
    found = []
    if ours is not None:
        rivals = [key for key in peers if key != ours]
        rows = [[n, *(_ratio(cost.get((n, key)), cost.get((n, ours))) for key in rivals)] for n in names]
        title = "How many times as long as scratchnn's compiled engine takes"
        found.append(Table(title, [header[0], *(PEERS[key][0] for key in rivals)], rows))
    rows = [[n, *(number(cost.get((n, key))) for key in peers)] for n in names]
    found.append(Table(f"Microseconds {unit}", header, rows))
    return found


def goal_lines(results: Iterable[Row]) -> Table | None:
    """Goals, what was measured, pass or missed; None where no goal was measured."""
    rows = [goal_row(verdict) for verdict in verdicts(results)]
    return Table("Goals", ["workload", "beside", "goal", "measured", ""], rows) if rows else None


def goal_row(verdict: Verdict) -> list[str]:
    goal = verdict.goal
    if goal.seconds:
        wanted, measured = f"under {goal.seconds:g} s", f"{number(verdict.measured)} s"
    elif goal.within:
        wanted, measured = f"within {goal.factor:g}x", f"{number(verdict.measured)}x"
    else:
        wanted, measured = f"{goal.factor:g}x as fast", f"{number(verdict.measured)}x"
    beside = PEERS[goal.peer][0] if goal.peer else ""
    return [goal.workload, beside, wanted, measured, "pass" if verdict.passed else "missed"]


def limits(results: Iterable[Row]) -> list[str]:
    """For every goal that is missed, what limits it."""
    results = list(results)
    return [
        f"{v.goal.workload}{' beside ' + PEERS[v.goal.peer][0] if v.goal.peer else ''}: " + _limit(v, results)
        for v in verdicts(results)
        if not v.passed
    ]


def _limit(verdict: Verdict, results: list[Row]) -> str:
    goal = verdict.goal
    text = LIMITS.get((goal.workload, goal.peer), "not explained yet.")
    cost = {r["peer"]: r["microseconds"] for r in results if r["workload"] == goal.workload and not r["size"]}

    def ratio(found: re.Match[str]) -> str:
        return _ratio(cost.get(found[1]), cost.get(found[2]))

    return re.sub(r"\{(\w+)_over_(\w+)\}", ratio, text)


def skipped(results: Iterable[Row]) -> list[str]:
    """Who did not run, once for every reason, and who ran but did not train what PyTorch trains."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for r in results:
        if r["status"] != "timed":
            where = r["workload"] + "".join(f" ({axis} {value})" for axis, value in r["size"].items())
            reasons.setdefault((r["label"], r["reason"]), []).append(where)
    return [f"{label}: {reason} ({', '.join(where)})" for (label, reason), where in reasons.items()]


def busy(results: Iterable[Row]) -> int:
    """How many results waited for a core: other programs were running."""
    return sum(1 for r in results if r["cores"] is not None and r["cores"] < BUSY)


def number(value: float | None) -> str:
    """Three significant digits, no exponent; a dash for nothing."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _ratio(theirs: float | None, ours: float | None) -> str:
    return f"{number(theirs / ours)}x" if theirs and ours else "-"


def _seconds(result: Row) -> str:
    return f"{result['microseconds'] / 1e6:.3f}"
