"""Is the suite itself any good? Change the code in small ways and see whether a test notices.

    PYTHONPATH=. python tests/mutation.py --minutes 60

Each mutant changes one thing in one place of a copy of the project: an operator, a comparison, a
constant, a condition. The tests of that file run on it, in a process of their own; a mutant that they
let pass has survived. Mutants are tried in random order, so that a run that is cut short is a fair sample.
Run it by hand: it takes an hour or more.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

ENGINE = [
    "test_engine_parity.py",
    "test_engine_formulas.py",
    "test_engine_traps.py",
    "test_clipping.py",
    "test_objective.py",
    "test_lr_scheduler_in_fit.py",
]
# Folder or file -> the tests that answer for it, the quickest first.
TESTS: dict[str, list[str]] = {
    "scratchnn/functional/activations.py": ["test_formulas.py", "test_layers.py"],
    "scratchnn/functional/linear.py": ["test_formulas.py", "test_layers.py"],
    "scratchnn/functional/losses.py": ["test_functional_losses.py", "test_formulas.py", "test_losses.py"],
    "scratchnn/functional/class_losses.py": [
        "test_functional_class_losses.py",
        "test_formulas.py",
        "test_losses.py",
    ],
    "scratchnn/functional/metrics.py": ["test_fit.py"],
    "scratchnn/functional/objective.py": ["test_objective.py"],
    "scratchnn/functional/updates.py": ["test_functional_updates.py", "test_optim.py"],
    "scratchnn/losses/base.py": ["test_losses_door.py", "test_losses.py", "test_fit.py"],
    "scratchnn/losses/values.py": ["test_losses_door.py", "test_losses.py"],
    "scratchnn/losses/classes.py": ["test_losses_door.py", "test_losses.py"],
    "scratchnn/optim/sgd.py": ["test_optim.py"],
    "scratchnn/optim/adam.py": ["test_optim.py"],
    "scratchnn/optim/optimizer.py": ["test_optim.py"],
    "scratchnn/engine/words.py": ["test_engine_words.py", *ENGINE],
    "scratchnn/engine/layers.py": ENGINE,
    "scratchnn/engine/losses.py": ENGINE,
    "scratchnn/engine/updates.py": ENGINE,
    "scratchnn/engine/blocks.py": ENGINE,
    "scratchnn/engine/steps.py": [*ENGINE, "test_recording.py"],
    "scratchnn/engine/rows.py": ["test_engine_rows.py", *ENGINE],
    "scratchnn/engine/orders.py": ["test_engine_rows.py", "test_engine_parity.py"],
}

ARITHMETIC: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
COMPARISONS: dict[type, type] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


@dataclass(frozen=True)
class Mutant:
    """One change: in which file and line, what it was, what it is."""

    file: str
    line: int
    before: str
    after: str
    source: str


class Sites(ast.NodeVisitor):
    """The expressions worth changing: not annotations, docstrings, messages or lists of names."""

    def __init__(self) -> None:
        self.found: list[ast.AST] = []

    def generic_visit(self, node: ast.AST) -> None:
        self.found.append(node)
        super().generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for default in [*node.args.defaults, *(d for d in node.args.kw_defaults if d)]:
            self.visit(default)
        for statement in node.body:
            self.visit(statement)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        if not any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        self.found.append(node)
        if not isinstance(node.operand, ast.Constant):  # -1 becomes 1; -2 would mean the same to reshape
            self.visit(node.operand)

    def visit_Raise(self, node: ast.Raise) -> None:
        return

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        return

    def visit_Import(self, node: ast.Import) -> None:
        return

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        return


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """The wrong versions of a node."""
    if isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in ARITHMETIC:
        wrong = copy.deepcopy(node)
        wrong.op = ARITHMETIC[type(node.op)]()
        yield wrong
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        wrong = copy.deepcopy(node)
        wrong.ops[0] = COMPARISONS[type(node.ops[0])]()
        yield wrong
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
        yield copy.deepcopy(node.operand)
    elif isinstance(node, ast.BoolOp):
        wrong = copy.deepcopy(node)
        wrong.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield wrong
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        wider = node.value * 1.5 if node.value else 1.0
        yield ast.Constant(node.value + 1 if isinstance(node.value, int) else wider)
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)) and not isinstance(node.test, ast.Compare):
        wrong = copy.deepcopy(node)
        wrong.test = ast.UnaryOp(ast.Not(), wrong.test)
        yield wrong
    elif isinstance(node, ast.IfExp):
        yield copy.deepcopy(node.orelse)


for _file, _tests in TESTS.items():
    if not _file.startswith("scratchnn/engine"):
        _tests.append("test_survivors.py")


def mutants(file: str) -> Iterator[Mutant]:
    """Every mutant of a file."""
    source = (ROOT / file).read_text()
    tree = ast.parse(source)
    sites = Sites()
    sites.visit(tree)
    for node in sites.found:
        for wrong in changes(node):
            changed = _replaced(tree, node, ast.copy_location(wrong, node))
            before, after = (_one_line(n) for n in (node, wrong))
            yield Mutant(file, getattr(node, "lineno", 0), before, after, changed)


def _one_line(node: ast.AST) -> str:
    text = ast.unparse(node).split("\n")[0]
    return text if len(text) < 70 else text[:67] + "..."


def _replaced(tree: ast.Module, node: ast.AST, wrong: ast.AST) -> str:
    parent, field, index = _parent(tree, node)
    held = getattr(parent, field)
    if index is None:
        setattr(parent, field, wrong)
    else:
        held[index] = wrong
    try:
        return ast.unparse(ast.fix_missing_locations(tree))
    finally:
        if index is None:
            setattr(parent, field, held)
        else:
            held[index] = node


def _parent(tree: ast.Module, node: ast.AST) -> tuple[ast.AST, str, int | None]:
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if value is node:
                return parent, field, None
            if isinstance(value, list):
                for i, item in enumerate(value):
                    if item is node:
                        return parent, field, i
    raise LookupError("a node without a parent")


def verdict(folder: Path, tests: list[str], seconds: float) -> str:
    """ "killed", "survived" or "timeout": the tests on the copy, in a forked process."""
    child = os.fork()
    if child == 0:
        os.setsid()
        # A shell's job in the background ignores Ctrl-C, for which some tests wait.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        quiet = os.open(os.environ.get("MUTATION_OUTPUT", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        code = 3
        try:
            import pytest

            paths = [f"tests/{t}" for t in tests if (folder / "tests" / t).exists()]
            code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "--no-header", *paths]))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "survived" if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0 else "killed"
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout"


def copy_project() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="mutants-"))
    for name in ("scratchnn", "reference", "tests", "docs", "benchmarks", "pyproject.toml", "README.md"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, folder / name)
    return folder


def run(files: list[str], minutes: float, seed: int, log: Path, seconds: float, again: bool) -> None:
    """Try mutants until the time is over; every verdict is a line of `log`.

    Mutants that the log knows are passed over; with `again` its survivors alone are tried once more.
    """
    os.environ.update(CI="1", OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    # A kernel that is hardly optimised computes the same and is compiled sooner.
    os.environ["NUMBA_OPT"] = "1"
    # What every child needs is loaded once; nothing of the project itself.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    import hypothesis.extra.numpy  # noqa: F401
    import numba  # noqa: F401
    import numpy  # noqa: F401
    import sklearn.utils  # noqa: F401
    import torch

    torch.set_num_threads(1)
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() not in (ROOT, ROOT / "tests")]
    folder = copy_project()
    os.environ["SCRATCHNN_CACHE_DIR"] = str(folder / "cache")
    todo = [mutant for file in files for mutant in mutants(file)]
    total = len(todo)
    random.Random(seed).shuffle(todo)
    records = _records(log)
    if again:
        left = {_key(r) for r in records if r["state"] == "survived" and r["file"] in files}
        todo = [mutant for mutant in todo if _key(asdict(mutant)) in left]
        records = [r for r in records if _key(r) not in left]
        log.write_text("".join(json.dumps(r) + "\n" for r in records))
    done = {_key(r) for r in records}
    # All of it on the unchanged code first: a suite that fails anyway kills everything.
    state = "survived"
    if not done:
        state = verdict(folder, sorted({t for file in files for t in TESTS[file]}), 1200)
        print(f"unchanged code {state}", flush=True)
    if state != "survived":
        raise SystemExit("the tests do not pass on the unchanged code")
    end = time.monotonic() + 60 * minutes
    try:
        for number, mutant in enumerate(todo, 1):
            if time.monotonic() > end:
                break
            if _key(asdict(mutant)) in done:
                continue
            original = (folder / mutant.file).read_text()
            (folder / mutant.file).write_text(mutant.source)
            try:
                state = verdict(folder, TESTS[mutant.file], seconds)
            finally:
                (folder / mutant.file).write_text(original)
                shutil.rmtree(folder / "cache", ignore_errors=True)
            record = {k: getattr(mutant, k) for k in ("file", "line", "before", "after")} | {"state": state}
            with log.open("a") as out:
                out.write(json.dumps(record) + "\n")
            print(
                f"{number}/{total} {state}: {mutant.file}:{mutant.line} {mutant.before} -> {mutant.after}",
                flush=True,
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _key(record: dict[str, object]) -> tuple[object, ...]:
    return tuple(record[name] for name in ("file", "line", "before", "after"))


def _records(log: Path) -> list[dict[str, object]]:
    lines = log.read_text().splitlines() if log.exists() else []
    return [record for record in map(json.loads, lines) if record["before"] != record["after"]]


def table(log: Path) -> str:
    """Killed and survived, by file."""
    records = _records(log)
    lines = ["| file | mutants tried | of | killed | survived |", "|---|---|---|---|---|"]
    records = list({_key(r): r for r in records}.values())
    for file in TESTS:
        own = [r for r in records if r["file"] == file]
        if own:
            survived = sum(r["state"] == "survived" for r in own)
            share = 100 * (len(own) - survived) / len(own)
            count = sum(1 for _ in mutants(file))
            lines.append(f"| {file} | {len(own)} | {count} | {share:.1f} % | {survived} |")
    survived = sum(r["state"] == "survived" for r in records)
    share = 100 * (len(records) - survived) / max(len(records), 1)
    lines.append(f"| all | {len(records)} | | {share:.1f} % | {survived} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", help="parts of the file names; all without")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seconds", type=float, default=180, help="for each mutant")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, default=Path("mutation.jsonl"))
    parser.add_argument("--again", action="store_true", help="only the survivors of the log")
    parser.add_argument("--table", action="store_true", help="only print the table of the log")
    options = parser.parse_args()
    if not options.table:
        chosen = [f for f in TESTS if not options.files or any(part in f for part in options.files)]
        run(chosen, options.minutes, options.seed, options.log, options.seconds, options.again)
    print(table(options.log))
