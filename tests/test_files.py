"""Model files: what is saved comes back equal, PyTorch reads it, and nothing else gets in."""

from __future__ import annotations

import errno
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from file_cases import LEAVES, equal_models, models, raw_file
from guide import run_blocks
from hypothesis import example, given, settings
from hypothesis import strategies as st

import scratchnn as snn
from reference import from_torch, twin
from scratchnn.files import FileFormatError, atomic, model_file
from scratchnn.random import default_generator

ROOT = Path(__file__).parent.parent


def round_trip(model: snn.Module) -> snn.Module:
    with tempfile.TemporaryDirectory() as folder:
        snn.save(model, Path(folder) / "model.safetensors")
        return snn.load(Path(folder) / "model.safetensors")


# There and back -----------------------------------------------------------------------------------


@given(models(depth=3))
@settings(max_examples=40)
def test_models_come_back_equal(model: snn.Module) -> None:
    state = default_generator.get_state()
    back = round_trip(model)
    assert equal_models(back, model)
    assert np.array_equal(default_generator.get_state(), state)
    if not isinstance(model, snn.ModuleList):
        x = np.linspace(-2, 2, 6, dtype=next((p.dtype for p in model.parameters()), np.float32)).reshape(2, 3)
        snn.manual_seed(1)
        y = model(x)
        snn.manual_seed(1)
        assert np.array_equal(back(x), y, equal_nan=True)


@pytest.mark.parametrize("leaf", LEAVES, ids=repr)
def test_every_layer_by_itself(leaf: snn.Module) -> None:
    assert equal_models(round_trip(leaf), leaf)


def test_every_public_layer_is_in_the_table() -> None:
    known = {kind.__name__ for kind in map(type, LEAVES)} | {"Sequential", "ModuleList", "MLP"}
    assert known == set(snn.layers.__all__) - {"Module", "Parameter"}


def test_numbers_that_json_lacks() -> None:
    back = round_trip(snn.Sequential(snn.Threshold(-np.inf, np.nan), snn.LeakyReLU(0.1 + 0.2)))
    assert back[0].threshold == -np.inf
    assert np.isnan(back[0].value)
    assert back[1].negative_slope == 0.1 + 0.2


def test_trained_weights_nan_included() -> None:
    model = snn.Sequential(snn.Linear(2, 2))
    model[0].weight.data[...] = [[np.nan, -0.0], [np.inf, 1e-45]]
    assert equal_models(round_trip(model), model)


def test_weights_in_any_memory_order() -> None:
    model = snn.Sequential(snn.Linear(3, 4))
    model[0].weight.data = np.asfortranarray(model[0].weight.data)
    assert equal_models(round_trip(model), model)


def test_a_module_in_two_places_comes_back_as_one() -> None:
    relu, linear = snn.ReLU(), snn.Linear(3, 3)
    block = snn.Sequential(linear, relu, snn.Sequential(linear))
    back = round_trip(snn.Sequential(block, relu, inside(block), block))
    assert back[0] is back[3] is back[2].inner
    assert back[0][0] is back[0][2][0]
    assert back[0][1] is back[1]
    assert len(list(back.parameters())) == 2


def inside(block: snn.Module) -> snn.Module:
    return snn.Sequential(OrderedDict(inner=block))


def test_modes_come_back_module_by_module() -> None:
    model = snn.Sequential(snn.Dropout(0.5), snn.Sequential(snn.Dropout(0.5)))
    model[1].eval()
    back = round_trip(model)
    assert [m.training for m in back.modules()] == [True, True, False, False]


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    model = snn.MLP(3, [4, 4], 2, dtype=np.float64)
    for name in "ab":
        snn.save(model, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_pytorch_reads_the_weights_and_we_read_pytorchs(tmp_path: Path) -> None:
    model = snn.Sequential(snn.Linear(3, 4), snn.MLP(4, [5], 2, "tanh"), snn.Linear(2, 1, bias=False))
    snn.save(model, tmp_path / "ours")
    theirs = twin(snn.load(tmp_path / "ours"))
    for parameter in theirs.parameters():
        parameter.data.zero_()
    theirs.load_state_dict(safetensors.torch.load_file(tmp_path / "ours"))
    assert equal_models(snn.Sequential(*from_torch(theirs)), snn.Sequential(*from_torch(twin(model))))
    other = twin(model).double()
    with torch.no_grad():
        other[0].weight += 1
    safetensors.torch.save_file(other.state_dict(), tmp_path / "theirs")
    assert snn.load(tmp_path / "theirs", model=model) is model
    assert np.array_equal(model[0].weight.data, other[0].weight.detach().float().numpy())
    with pytest.raises(FileFormatError, match="holds no scratchnn model; for weights alone pass load"):
        snn.load(tmp_path / "theirs")


def test_pytorch_reads_a_layer_that_stands_twice(tmp_path: Path) -> None:
    linear = snn.Linear(2, 2)
    model = snn.Sequential(linear, snn.ReLU(), linear)
    snn.save(model, tmp_path / "model")
    theirs = twin(snn.Sequential(one := snn.Linear(2, 2), snn.ReLU(), one))
    theirs.load_state_dict(safetensors.torch.load_file(tmp_path / "model"))
    assert theirs[0] is theirs[2]
    assert np.array_equal(theirs[0].weight.detach().numpy(), linear.weight.data)


# A Module of one's own ----------------------------------------------------------------------------


class Own(snn.Module):
    def __init__(self) -> None:
        self.inner = snn.Linear(2, 3)


def test_a_class_of_ones_own_is_refused_with_the_cure_and_the_cure_works(tmp_path: Path) -> None:
    model, path = snn.Sequential(snn.ReLU(), Own()), tmp_path / "model"
    with pytest.raises(
        TypeError, match=r"no description of test_files.Own at '1'.*model.state_dict\(\), path"
    ):
        snn.save(model, path)
    assert not path.exists()
    snn.save(model.state_dict(), path)
    other = snn.Sequential(snn.ReLU(), Own())
    assert snn.load(path, model=other) is other
    assert equal_models(other, model)
    with pytest.raises(FileFormatError, match="weights without an architecture"):
        snn.load(path)
    wrong = snn.Sequential(snn.ReLU(), snn.Linear(2, 3))
    before = wrong[1].weight.data.copy()
    with pytest.raises(RuntimeError, match=r"missing: 1\.weight"):
        snn.load(path, model=wrong)
    assert np.array_equal(wrong[1].weight.data, before)


def test_a_subclass_of_a_layer_is_a_class_of_ones_own(tmp_path: Path) -> None:
    class Twice(snn.Linear):
        pass

    with pytest.raises(TypeError, match="Twice"):
        snn.save(Twice(2, 2), tmp_path / "model")


def tied() -> snn.Module:
    model = snn.Sequential(snn.Linear(2, 2), snn.Linear(2, 2))
    model[1].weight = model[0].weight
    return model


def attached() -> snn.Module:
    model = snn.Sequential(snn.ReLU())
    model[0].more = snn.Linear(1, 1)
    return model


def reshaped() -> snn.Module:
    model = snn.Sequential(snn.Linear(2, 2))
    model[0].weight.data = np.zeros((3, 2), np.float32)
    return model


def of_its_own() -> snn.Module:
    model = snn.Sequential(snn.ReLU())
    model.scale = snn.Parameter([1.0])
    return model


def containing_itself() -> snn.Module:
    model = snn.Sequential(snn.ReLU())
    return model.append(model)


def nested(levels: int) -> snn.Module:
    model: snn.Module = snn.ReLU()
    for _ in range(levels):
        model = snn.Sequential(model)
    return model


def doubled(levels: int) -> snn.Module:
    model: snn.Module = snn.ReLU()
    for _ in range(levels):
        model = snn.Sequential(model, model)
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (tied, "1.weight and 0.weight are one Parameter in two layers"),
        (attached, "ReLU at '0' holds the module more"),
        (reshaped, r"0.weight is float32 \(3, 2\), where its layer's constructor makes float32 \(2, 2\)"),
        (of_its_own, "Sequential holds the parameter scale"),
        (containing_itself, "contains itself at '1'"),
        (lambda: nested(101), "deeper than 100"),
        (lambda: doubled(40), "flatten the model"),
        (lambda: snn.Linear(2, 2).astype(np.complex128), "complex128"),
    ],
)
def test_what_no_constructor_makes_is_refused(make: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        snn.save(make(), tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_limits_are_the_same_on_both_sides() -> None:
    for model in (nested(99), doubled(12)):
        assert repr(round_trip(model)) == repr(model)


@pytest.mark.parametrize("value", [{"a": np.zeros(2, np.int64)}, {1: np.zeros(2)}, [1], "model"])
def test_other_things_are_no_models(value: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="save got"):
        snn.save(value, tmp_path / "model")
    with pytest.raises(TypeError, match="load got"):
        snn.load(tmp_path / "model", model=value)


# Files that are wrong -----------------------------------------------------------------------------


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
    "probability of 2": ({"type": "Dropout", "p": 2}, "a probability lies between 0 and 1"),
    "probability NaN": ({"type": "Dropout", "p": "nan"}, "a probability lies between 0 and 1"),
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


# The disk -----------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model"
    old = snn.Linear(2, 2)
    snn.save(old, path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        snn.save(snn.Linear(3, 3), path)
    assert "is as it was before" in caught.value.__notes__[0]
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["model"]
    assert equal_models(snn.load(path), old)


def test_a_link_and_a_mode_are_kept(tmp_path: Path) -> None:
    (tmp_path / "real").touch(mode=0o600)
    (tmp_path / "link").symlink_to("real")
    snn.save(snn.Linear(2, 2), tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o600
    assert snn.load(str(tmp_path / "real"))


def test_paths_that_cannot_be(tmp_path: Path) -> None:
    model = snn.Linear(2, 2)
    with pytest.raises(FileNotFoundError, match="make it first"):
        snn.save(model, tmp_path / "none" / "model")
    with pytest.raises(IsADirectoryError):
        snn.save(model, tmp_path)
    with pytest.raises(FileNotFoundError):
        snn.load(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        snn.load(tmp_path)


@pytest.mark.parametrize("call", ["save", "load", "export_onnx"])
def test_a_missing_package_names_the_extra(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("safetensors", "safetensors.numpy", "onnx", "onnx.helper"):
        monkeypatch.setitem(sys.modules, name, None)
    arguments = [tmp_path / "model"] if call == "load" else [snn.ReLU(), tmp_path / "model"]
    with pytest.raises(ImportError, match=rf'{call} needs the package \w+; .*"scratchnn\[export\]"'):
        getattr(snn, call)(*arguments)


def test_importing_scratchnn_loads_none_of_it() -> None:
    code = (
        "import sys, scratchnn; scratchnn.save, scratchnn.to_torch;"
        "print([m for m in ('safetensors', 'onnx', 'torch', 'scratchnn.files') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "['scratchnn.files']"


def test_the_guide_runs_and_shows_what_it_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snn, "fit", functools.partial(snn.fit, engine="numpy"))  # too short to compile
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "files.md").read_text()
    assert text.count("```python") == 6
    ((block, output),) = run_blocks(text, tmp_path)
    assert output.strip() == block.group(2).strip()
