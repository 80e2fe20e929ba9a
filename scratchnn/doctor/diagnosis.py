"""What the doctor says, as an object and in sentences."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field

from ..gradcheck.report import GradcheckReport

__all__ = ["Diagnosis", "Finding"]

WIDTH = 100  # of the printed lines


@dataclass(frozen=True)
class Finding:
    """A mistake and why it is believed.

    Attributes:
        name: a key of CATALOGUE. sentence: the diagnosis in words. evidence: numbers.
    """

    name: str
    sentence: str
    evidence: str


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` says: true only where the gradient is right.

    Attributes:
        report: the gradient check; None where the backward could not run to its end.
        findings: the mistakes that together give the gradients at hand: one, as a rule; empty where nothing
            fits.
        alternatives: other mistakes, or sets of them, that would give the same numbers.
        unexplained: names of the wrong tensors that the findings do not explain.
        pattern: how the wrong gradients differ from the right ones, one line a tensor.
        notes: anything seen on the way.
    """

    report: GradcheckReport | None
    findings: list[Finding] = field(default_factory=list)
    alternatives: list[list[Finding]] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    pattern: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """True when the gradient is right."""
        return self.report is not None and bool(self.report)

    def __bool__(self) -> bool:
        return self.passed

    @property
    def mistake(self) -> str | None:
        """The name of the likeliest mistake; None where the gradient is right or nothing fits."""
        return self.findings[0].name if self.findings else None

    @property
    def mistakes(self) -> list[str]:
        """The names of all findings, each once."""
        return list(dict.fromkeys(finding.name for finding in self.findings))

    def __str__(self) -> str:
        lines = [] if self.report is None else [str(self.report), ""]
        if self.passed:
            return "\n".join([*lines, "Diagnosis: the gradient is right."])
        if self.report is not None and self.report.verdict != "FAIL":
            return "\n".join([*lines, f"Diagnosis: {self.report.verdict}."])
        lines += self._found() if self.findings else ["Diagnosis: no mistake of the catalogue fits."]
        if self.unexplained or not self.findings:
            lines += [f"  {line}" for line in self.pattern]
        lines += [f"  Note: {note}" for note in self.notes]
        return "\n".join(lines)

    def _found(self) -> list[str]:
        names = [*self.mistakes, *(["something that is not in the catalogue"] if self.unexplained else [])]
        lines = [f"Diagnosis: {_all(names)}"]
        lines += [_wrapped(finding.sentence) for finding in self.findings]
        evidence = dict.fromkeys(finding.evidence for finding in self.findings)
        lines += [_wrapped(f"Evidence: {one}.") for one in evidence]
        if self.alternatives:
            lines.append("  The same numbers would come from:")
        for others in self.alternatives:
            text = f"{_all([f.name for f in others])}: {' '.join(f.sentence for f in others)}"
            lines.append(_wrapped(text, "    "))
        if self.unexplained:
            lines.append(_wrapped(f"Not explained: {', '.join(self.unexplained)}."))
        return lines


def _all(names: list[str]) -> str:
    names = list(dict.fromkeys(names))
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _wrapped(text: str, indent: str = "  ") -> str:
    return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent)
