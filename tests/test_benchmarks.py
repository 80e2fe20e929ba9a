"""The benchmarks measure what they say: every peer trains what PyTorch trains, and a peer that does not is
found out; the JSON file, the tables and the page hold what was measured."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import goals, report, small
from benchmarks.__main__ import main
from benchmarks.many import many
from benchmarks.measure import QUICK, Judge, Result, largest_difference
from benchmarks.page import page
from benchmarks.peers import PEERS, Run, Unavailable, jax_scan, load
from benchmarks.pictures import multiply_adds
from benchmarks.workloads import CIRCLES, LARGE, RINGS, SMALL, Task, Workload, task

SHORT = {"circles": {"rows": 150, "batch": 64}, "drawing": {"rows": 100, "batch": 24}}
HERE = ("numba", "numpy", "torch_fused", "torch_loader", "sklearn", "c", "c_given", "jax", "jax_last")
MANY = ("many_numba", "many_vmap", "many_jax")
FULL = {"moons", "rings", "sine"}  # full batch: no DataLoader, no order
CANNOT = {
    "torch_loader": FULL,
    "sklearn": {"moons"},
    "c": {"moons", "sine"},
    "c_given": FULL,
}


def short(workload: Workload) -> Task:
    """The workload over a few rows, its last batch not full, checked after few epochs."""
    rows = {} if workload.batch is None else SHORT.get(workload.name, {"rows": 300})
    return task(replace(workload, check_epochs=3 if rows else 20, **rows))


class InThisProcess:
    """A worker without a process: what Judge needs of one."""

    def __init__(self, key: str, given: Task) -> None:
        self.peer = load(key)(given)

    def run(self, epochs: int, nudged: bool = False) -> Run:
        if not nudged:
            return self.peer.run(epochs)
        kept = self.peer.task
        start = [np.nextafter(a, np.float32(np.inf)) for a in kept.start]
        self.peer.task = replace(kept, start=start)
        try:
            return self.peer.run(epochs)
        finally:
            self.peer.task = kept


def judge(given: Task, key: str = "torch") -> Judge:
    return Judge(InThisProcess(key, given), given, key)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _quick_and_tidy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """JAX compiles one form and not two; peers set PyTorch's threads, which go back to what they were."""
    monkeypatch.setattr(jax_scan, "UNROLLED", (1,))
    monkeypatch.setattr(jax_scan, "TRIAL_SECONDS", 0.0)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.filterwarnings("ignore")  # scikit-learn and the softmax study warn; the benchmark knows
@pytest.mark.parametrize(
    ("key", "workload"),
    [(key, w) for key in HERE for w in SMALL if key != "jax_last" or w.name in ("circles", "rings")],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_peers_train_what_pytorch_trains(key: str, workload: Workload) -> None:
    given = short(workload)
    if key.startswith("jax"):
        pytest.importorskip("jax")
    if workload.name in CANNOT.get(key, ()):
        with pytest.raises(Unavailable):
            load(key)(given)
        return
    peer = load(key)(given)
    referee = judge(given, peer.judge)
    for _ in range(2):  # a peer starts from the task every time
        found = referee.check(peer.run(given.workload.check_epochs))
        assert found.passed, found


def test_orders_are_a_data_loaders() -> None:
    given = short(CIRCLES)
    rows = torch.arange(given.workload.rows)
    torch.manual_seed(given.seed)
    loader = torch.utils.data.DataLoader(rows, given.workload.batch, shuffle=True)
    for order in given.orders(3):
        assert np.array_equal(order, np.concatenate([batch.numpy() for batch in loader]))


def test_less_work_is_found_out() -> None:
    given = short(CIRCLES)
    referee = judge(given)
    good = referee.run
    assert referee.check(good).passed
    one_step_less = replace(good, parameters=load("torch")(given).run(2).parameters)
    assert not referee.check(one_step_less).passed
    moved = [a.copy() for a in good.parameters]
    moved[0][0, 0] += 1e-5
    assert not referee.check(replace(good, parameters=moved)).passed
    nan = [np.full_like(a, np.nan) for a in good.parameters]
    assert not referee.check(replace(good, parameters=nan)).passed
    assert not referee.check(replace(good, parameters=given.start)).passed
    for losses in (good.losses[:-1], good.losses * 1.01):
        with pytest.raises(Unavailable, match="recorded"):
            referee.check(replace(good, losses=losses))


def test_differences() -> None:
    assert largest_difference([np.zeros(3)], [np.array([0, -2.0, 1])]) == 2
    assert largest_difference([np.array([0.0, np.nan])], [np.zeros(2)]) == np.inf


def test_many_networks_train_as_alone() -> None:
    given = many(4)
    referee = judge(given, "many_alone")
    for key in MANY:
        if key == "many_jax":
            pytest.importorskip("jax")
        assert referee.check(load(key)(given).run(given.workload.check_epochs)).passed
    first = [a[:1] for a in referee.run.parameters]
    assert largest_difference([a[1:2] for a in referee.run.parameters], first) > 1e-3


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The command, run once: (folder, JSON document)."""
    folder = tmp_path_factory.mktemp("benchmarks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small, "SMALL", (CIRCLES, RINGS))
        assert main(["small", "--quick", "--peers", "torch_loader,torch", "--out", str(folder)]) == 0
    return folder, json.loads((folder / "benchmarks.json").read_text())


def test_the_json_file(measured: tuple[Path, dict[str, Any]]) -> None:
    folder, document = measured
    assert document["schema"] == 1
    assert list(document["sections"]) == ["small"]
    section = document["sections"]["small"]
    assert set(section) == {"when", "command", "settings", "machine", "results"}
    assert section["command"] == "python -m benchmarks small --quick"
    machine = {"processor", "cores", "packages", "numpy_blas", "c_compiler", "load_average"}
    assert machine <= set(section["machine"])
    results = section["results"]
    assert [(r["workload"], r["peer"], r["status"]) for r in results] == [
        ("circles", "torch", "timed"),
        ("circles", "torch_loader", "timed"),
        ("rings", "torch", "timed"),
        ("rings", "torch_loader", "skipped"),
    ]
    assert "full batch" in results[3]["reason"]
    for entry in results[:3]:
        assert set(entry) == set(asdict(Result("", "", "", "", "", "")))
        assert entry["check"]["passed"]
        assert entry["check"]["difference"] == 0  # PyTorch beside itself, its DataLoader drawing its own
        assert entry["microseconds"] == np.median(entry["runs"]) > 0
        assert len(entry["runs"]) == QUICK.repeats
        steps = CIRCLES.steps if entry["workload"] == "circles" else 1
        assert entry["steps"] == steps * entry["epochs"] > 0
    assert (folder / "networks.png").stat().st_size > 10_000


def result(workload: str, peer: str, microseconds: float | None, **other: Any) -> dict[str, Any]:
    status = "timed" if microseconds else "skipped"
    found = Result(
        "small", workload, workload, peer, PEERS[peer][0], status, microseconds=microseconds, **other
    )
    return found.as_dict()


def test_tables_give_ratios_first() -> None:
    results = [
        result("circles", "numba", 2.0),
        result("circles", "torch", 500.0),
        result("circles", "c", 1.0),
        result("circles", "jax", None, reason="jax is not installed"),
    ]
    ratios, costs = report.tables("small", results)
    assert ratios.rows == [["circles: circles", "250x", "0.5x"]]
    assert costs.rows == [["circles: circles", "2", "500", "1"]]
    assert report.skipped(results) == ["JAX jit, epoch in one scan: jax is not installed (circles)"]
    found = {(v.goal.peer, v.measured, v.passed) for v in goals.verdicts(results)}
    assert found == {("torch", 250.0, True), ("c", 2.0, False)}


def test_a_missed_goal_says_why_with_measured_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    results = [result("rings", "numba", 8.0), result("rings", "torch", 160.0), result("rings", "c", 5.0)]
    monkeypatch.setitem(goals.LIMITS, ("rings", "torch"), "C is {torch_over_c} as fast, JAX {torch_over_jax}")
    assert report.limits(results) == ["rings beside PyTorch loop: C is 32x as fast, JAX -"]


def test_the_limits_name_peers() -> None:
    for text in goals.LIMITS.values():
        for fraction in re.findall(r"\{(.*?)\}", text):
            assert set(fraction.split("_over_")) <= set(PEERS)


def test_numbers() -> None:
    assert [report.number(v) for v in (None, 0.01234, 1.0, 12.34, 123.4, 44000.0)] == [
        "-",
        "0.0123",
        "1",
        "12.3",
        "123",
        "44,000",
    ]


def test_multiply_adds() -> None:
    # forward 2*10 + 10*1, backward the same twice, without the dx of the first layer; 64 rows
    assert multiply_adds(CIRCLES) == 64 * (3 * 30 - 20)


def test_every_goal_has_a_workload_and_a_peer() -> None:
    from benchmarks.startup import PROGRAMS

    names = {w.name for w in (*SMALL, *LARGE)} | {"many rings"} | {name for name, *_ in PROGRAMS}
    for goal in goals.GOALS:
        assert goal.workload in names
        assert bool(goal.seconds) != (goal.peer in PEERS)
    assert set(goals.LIMITS) <= {(g.workload, g.peer) for g in goals.GOALS}


def test_the_page_is_made_of_the_figures(measured: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, document = measured
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- benchmarks: begin -->\nold\n<!-- benchmarks: end -->\nafter\n")
    assert main(["--page", "--out", str(folder), "--root", str(tmp_path)]) == 0
    text = (tmp_path / "docs" / "benchmarks.md").read_text()
    assert text == page(document)
    for entry in document["sections"]["small"]["results"][:3]:
        assert f" {report.number(entry['microseconds'])} |" in text
    assert (tmp_path / "docs" / "images" / "benchmarks-networks.png").exists()
    assert "old" not in readme.read_text()
    assert readme.read_text().startswith("before\n<!-- benchmarks: begin -->\n| ")
    assert readme.read_text().endswith("<!-- benchmarks: end -->\nafter\n")


@pytest.mark.parametrize("wrong", [["nothing"], ["--repeats", "0"], ["--peers", "numba,nobody"]])
def test_wrong_arguments(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(wrong)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err
