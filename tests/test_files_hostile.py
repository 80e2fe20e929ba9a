"""Files that are cut, changed, oversized or hostile: one clear error, bounded memory, nothing loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from file_cases import equal_models, raw_file
from hypothesis import example, given, settings
from hypothesis import strategies as st

import scratchnn as snn
from scratchnn.files import FileFormatError, model_file
from scratchnn.random import default_generator

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def small() -> tuple[snn.Module, bytes]:
    """A model and its file: shared places, a named container, both modes."""
    snn.manual_seed(0)
    linear = snn.Linear(2, 2)
    model = snn.Sequential(linear, snn.Dropout(0.25), linear, snn.Sequential({"a": snn.Softmax(-1)}))
    model[1].eval()
    with tempfile.TemporaryDirectory() as folder:
        snn.save(model, Path(folder) / "model")
        return model, (Path(folder) / "model").read_bytes()


def load_bytes(data: bytes, path: Path) -> snn.Module:
    path.write_bytes(data)
    return snn.load(path)


def test_a_file_cut_at_any_length(small: tuple[snn.Module, bytes], tmp_path: Path) -> None:
    model, data = small
    header = 8 + int.from_bytes(data[:8], "little")
    for length in range(len(data)):
        message = "its header alone needs" if length < header else "no whole safetensors file"
        with pytest.raises(FileFormatError, match=message):
            load_bytes(data[:length], tmp_path / "cut")
    assert equal_models(load_bytes(data, tmp_path / "cut"), model)
    with pytest.raises(FileFormatError):
        load_bytes(data + b"\0", tmp_path / "cut")


@given(st.data())
@settings(max_examples=300)
def test_a_file_with_other_bytes_loads_equal_or_not_at_all(
    small: tuple[snn.Module, bytes], data: Any
) -> None:
    model, whole = small
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(changed) - 1))
        kind = data.draw(st.sampled_from(["flip", "set", "cut", "insert"]))
        if kind == "flip":
            changed[position] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "set":
            changed[position] = data.draw(st.sampled_from(b'0129-"{}[]:,.eNItfa \\\x00\xff'))
        elif kind == "cut":
            del changed[position : position + data.draw(st.integers(1, 20))]
        else:
            changed[position:position] = data.draw(st.binary(min_size=1, max_size=8))
        changed = changed or bytearray(b"\0")
    state = default_generator.get_state()
    with tempfile.TemporaryDirectory() as folder:
        try:
            loaded = load_bytes(bytes(changed), Path(folder) / "model")
        except FileFormatError:
            pass
        else:
            assert equal_models(loaded, model)
    assert np.array_equal(default_generator.get_state(), state)


@given(st.binary(max_size=64))
@example(b"PK\x03\x04")
def test_any_bytes_are_no_model(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.raises(FileFormatError):
        load_bytes(data, Path(folder) / "model")


def test_every_flipped_bit_of_the_weights_is_found(small: tuple[snn.Module, bytes], tmp_path: Path) -> None:
    _, data = small
    for position in range(len(data) - 24, len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        with pytest.raises(FileFormatError, match="some bytes have changed"):
            load_bytes(bytes(changed), tmp_path / "model")


LINEAR = {"type": "Linear", "in_features": 2, "out_features": 1, "bias": False, "dtype": "float32"}
WEIGHT = np.ones((1, 2), np.float32)


def deep(levels: int) -> Any:
    value: Any = {"type": "ReLU"}
    for _ in range(levels):
        value = {"type": "Sequential", "children": {"0": value}}
    return value


def laughs(levels: int) -> Any:
    """Each container holds the one before twice: 2**levels places in a few lines."""
    children: dict[str, Any] = {"0": {"type": "Sequential", "children": {"0": {"type": "ReLU"}}}}
    for i in range(1, levels):
        twice = {"a": {"same_as": str(i - 1)}, "b": {"same_as": str(i - 1)}}
        children[str(i)] = {"type": "Sequential", "children": twice}
    return {"type": "Sequential", "children": children}


def ladder(levels: int) -> Any:
    """Each container holds the one before: few places, but as many levels."""
    children: dict[str, Any] = {"0": {"type": "Sequential", "children": {}}}
    for i in range(1, levels):
        children[str(i)] = {"type": "Sequential", "children": {"a": {"same_as": str(i - 1)}}}
    return {"type": "Sequential", "children": children}


HOSTILE = {
    "unknown layer": ({"type": "Conv2d"}, "unknown type Conv2d"),
    "a class of Python": ({"type": "__import__('os').system"}, "unknown type"),
    "a base class": ({"type": "Module"}, "unknown type"),
    "no type": ({"children": {}}, "unknown type"),
    "a list": ([LINEAR], "described by a list"),
    "no object": (None, "described by a NoneType"),
    "more arguments": ({**LINEAR, "device": "cuda"}, "has the entries"),
    "fewer arguments": ({"type": "Dropout"}, "has the entries"),
    "children of a leaf": ({"type": "ReLU", "children": {}}, "has the entries"),
    "children in a list": ({"type": "Sequential", "children": [LINEAR]}, "children that are no object"),
    "size as text": ({**LINEAR, "in_features": "2"}, "needs a int"),
    "size as float": ({**LINEAR, "in_features": 2.0}, "needs a int"),
    "size as bool": ({**LINEAR, "in_features": True}, "needs a int"),
    "other shape": ({**LINEAR, "in_features": 3}, r"weight is float32 \(1, 2\).* needs float32 \(1, 3\)"),
    "negative size": ({**LINEAR, "in_features": -2}, "needs float32"),
    "enormous size": ({**LINEAR, "in_features": 10**12}, "needs float32"),
    "beyond any int": ({**LINEAR, "in_features": 10**100}, "needs float32"),
    "other dtype": ({**LINEAR, "dtype": "float64"}, "needs float64"),
    "no such dtype": ({**LINEAR, "dtype": "object"}, "needs a str"),
    "a bias it lacks": ({**LINEAR, "bias": True}, r"missing \['bias'\]"),
    "a weight too many": ({"type": "ReLU"}, r"unexpected \['weight'\]"),
    "weight elsewhere": ({"type": "Sequential", "children": {"0": LINEAR}}, r"missing \['0.weight'\]"),
    "training as text": ({**LINEAR, "training": "no"}, "training=no"),
    "too deep": (deep(101), "deeper than 100"),
    "deeper than the stack": (deep(300), "deeper than 100"),
    "a billion laughs": (laughs(40), "flatten the model"),
    "a ladder": (ladder(300), "flatten the model"),
    "same as itself": ({"same_as": ""}, "does not come before it"),
    "same as a parent": ({"type": "Sequential", "children": {"0": {"same_as": ""}}}, "not come before it"),
    "same as a number": ({"type": "Sequential", "children": {"0": {"same_as": 0}}}, "not come before it"),
}
WITHOUT_WEIGHTS = {
    "probability of 2": ({"type": "Dropout", "p": 2}, r"p=(2.0|nan); it must be within \[0, 1\]"),
    "probability NaN": ({"type": "Dropout", "p": "nan"}, r"p=(2.0|nan); it must be within \[0, 1\]"),
    "beyond any float": ({"type": "LeakyReLU", "negative_slope": 10**400}, "no float holds"),
    "a word as a number": ({"type": "LeakyReLU", "negative_slope": "Infinity"}, "needs a float"),
    "name of a method": ({"type": "Sequential", "children": {"forward": {"type": "ReLU"}}}, "cannot name"),
    "dunder": ({"type": "Sequential", "children": {"__class__": {"type": "ReLU"}}}, "cannot name"),
    "dotted": ({"type": "Sequential", "children": {"a.b": {"type": "ReLU"}}}, "cannot name"),
    "list from 1": ({"type": "ModuleList", "children": {"1": {"type": "ReLU"}}}, "do not count from 0"),
}


def crafted(architecture: Any, state: dict[str, np.ndarray], path: Path) -> Path:
    """A file that is in order but for what it says."""
    header = {"format": 1, "version": "0.1.0", "architecture": architecture}
    header["sha256"] = model_file._digest(header, state)
    safetensors.numpy.save_file(state, path, {"scratchnn": json.dumps(header)})
    return path


def test_a_crafted_file_that_is_right_loads(tmp_path: Path) -> None:
    assert np.array_equal(snn.load(crafted(LINEAR, {"weight": WEIGHT}, tmp_path / "a")).weight.data, WEIGHT)
    assert snn.load(crafted(deep(99), {}, tmp_path / "b"))


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_descriptions(case: str, tmp_path: Path) -> None:
    architecture, message = HOSTILE[case]
    with pytest.raises(FileFormatError, match=message):
        snn.load(crafted(architecture, {"weight": WEIGHT}, tmp_path / "model"))


@pytest.mark.parametrize("case", WITHOUT_WEIGHTS)
def test_hostile_arguments(case: str, tmp_path: Path) -> None:
    architecture, message = WITHOUT_WEIGHTS[case]
    with pytest.raises(FileFormatError, match=message):
        snn.load(crafted(architecture, {}, tmp_path / "model"))


def test_a_size_of_zero(tmp_path: Path) -> None:
    state = {"weight": np.ones((0, 2), np.float32)}
    with pytest.raises(FileFormatError, match="out_features=0"):
        snn.load(crafted({**LINEAR, "out_features": 0}, state, tmp_path / "model"))


def test_one_layer_with_two_sets_of_numbers(tmp_path: Path) -> None:
    architecture = {"type": "Sequential", "children": {"0": LINEAR, "1": {"same_as": "0"}}}
    state = {"0.weight": WEIGHT, "1.weight": WEIGHT}
    assert snn.load(crafted(architecture, state, tmp_path / "same"))
    with pytest.raises(FileFormatError, match=r"1.weight and 0.weight are of one layer"):
        snn.load(crafted(architecture, {**state, "1.weight": 2 * WEIGHT}, tmp_path / "other"))


TENSOR = {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}
HEADERS = {
    "no JSON": b"{" + b" " * 20,
    "no object": b"[1, 2]",
    "not text": b"\xff\xfe\xfd",
    "UTF-16": '{"weight": 1}'.encode("utf-16"),
    "nested beyond the stack": b"[" * 100_000,
    "offsets beyond the file": json.dumps({"weight": {**TENSOR, "data_offsets": [0, 2**62]}}).encode(),
    "offsets backwards": json.dumps({"weight": {**TENSOR, "data_offsets": [8, 0]}}).encode(),
    "shape too large": json.dumps({"weight": {**TENSOR, "shape": [2**40, 2**40]}}).encode(),
    "negative shape": json.dumps({"weight": {**TENSOR, "shape": [-1, -2]}}).encode(),
    "shape NaN": b'{"weight": {"dtype": "F32", "shape": [NaN, 2], "data_offsets": [0, 8]}}',
    "a number of 5000 digits": b'{"weight": %s}' % (b"9" * 5000),
    "unknown dtype": json.dumps({"weight": {**TENSOR, "dtype": "F33"}}).encode(),
    "no metadata": json.dumps({"weight": TENSOR}).encode(),
    "metadata of another": json.dumps({"weight": TENSOR, "__metadata__": {"format": "pt"}}).encode(),
    "a list as description": json.dumps({"weight": TENSOR, "__metadata__": {"scratchnn": "[]"}}).encode(),
    "the next format": json.dumps(
        {"weight": TENSOR, "__metadata__": {"scratchnn": '{"format": 2, "version": "9"}'}}
    ).encode(),
}


@pytest.mark.parametrize("case", HEADERS)
def test_hostile_headers(case: str, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError):
        load_bytes(raw_file(HEADERS[case], WEIGHT.tobytes()), tmp_path / "model")


def test_a_name_given_twice(tmp_path: Path) -> None:
    text = crafted(LINEAR, {"weight": WEIGHT}, tmp_path / "model").read_bytes()[8:-8].decode().rstrip()
    twice = f'{{"weight": {json.dumps(TENSOR)}, {text[1:]}'
    dropout = {"format": 1, "architecture": {"type": "Dropout", "p": 0.5}}
    digest = model_file._digest(dropout, {})
    inner = json.dumps({**dropout, "sha256": digest}).replace('"p"', '"p": 0.1, "p"')
    for header in (twice, json.dumps({"__metadata__": {"scratchnn": inner}})):
        with pytest.raises(FileFormatError, match="a name is given twice"):
            load_bytes(raw_file(header.encode(), WEIGHT.tobytes() * (header is twice)), tmp_path / "model")


def test_a_header_that_is_too_long_is_neither_written_nor_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = snn.Sequential(*[snn.ReLU() for _ in range(40)])
    snn.save(model, tmp_path / "model")
    monkeypatch.setattr(model_file, "MAX_HEADER", 1000)
    with pytest.raises(FileFormatError, match="at most 1000 are read"):
        snn.load(tmp_path / "model")
    with pytest.raises(ValueError, match="split the model"):
        snn.save(model, tmp_path / "other")
    assert os.listdir(tmp_path) == ["model"]


def test_another_formats_number_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="it has format 2, of scratchnn 9; known is 1"):
        load_bytes(raw_file(HEADERS["the next format"], WEIGHT.tobytes()), tmp_path / "model")


def test_weights_of_no_dtype_of_ours(tmp_path: Path) -> None:
    safetensors.torch.save_file({"weight": torch.ones(1, 2, dtype=torch.bfloat16)}, tmp_path / "model")
    with pytest.raises(FileFormatError, match="weight holds BF16"):
        snn.load(tmp_path / "model", model=snn.Linear(2, 1, bias=False))


MEASURED = """
import resource, sys
import scratchnn as snn
from scratchnn.files import FileFormatError
import safetensors.numpy
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    for model in (None, snn.Linear(2, 2)):
        try:
            snn.load(path, model=model)
        except (FileFormatError, RuntimeError) as error:
            print(type(error).__name__)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_files_of_gigabytes_take_no_memory(tmp_path: Path) -> None:
    """A header of 4 GB, one that only claims so, tensors of 4 GB: refused before they are read."""
    size = 4 * 10**9
    tensor = {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}
    header = json.dumps({"weight": tensor}).encode()
    starts = [size.to_bytes(8, "little"), (2**64 - 1).to_bytes(8, "little"), raw_file(header, b"")]
    paths = [tmp_path / str(i) for i in range(3)]
    for path, start in zip(paths, starts, strict=True):
        path.write_bytes(start)
        os.truncate(path, size + len(start))  # sparse: no block is written
    out = subprocess.run(
        [sys.executable, "-c", MEASURED, *map(str, paths)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert out[:-1] == ["FileFormatError"] * 5 + ["RuntimeError"]
    assert int(out[-1]) < 100, f"{out[-1]} MB"


AUDITED = """
import sys
import scratchnn as snn
snn.load(sys.argv[1])
watched = []
sys.addaudithook(lambda event, _: watched.append(event) if event.split(".")[0] in
                 ("exec", "compile", "import", "pickle", "subprocess", "os", "ctypes", "marshal") else None)
model = snn.load(sys.argv[1])
found = sorted(set(watched))
print(found)
"""


def test_loading_runs_nothing(tmp_path: Path) -> None:
    snn.save(snn.MLP(2, [3], 1), tmp_path / "model")
    command = [sys.executable, "-c", AUDITED, str(tmp_path / "model")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
