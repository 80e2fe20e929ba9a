"""Model files: what is saved comes back equal, PyTorch reads it, and nothing else gets in."""

from __future__ import annotations

import errno
import functools
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
from file_cases import LEAVES, equal_models, models
from guide import run_blocks
from hypothesis import given, settings

import scratchnn as snn
from reference import from_torch, twin
from scratchnn.files import FileFormatError, atomic
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
