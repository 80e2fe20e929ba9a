"""The `scratchnn` command: what it prints, where, and how it ends."""

import json
import os
import subprocess
import sys

import pytest
from processes import interrupted

from scratchnn import cli, studies

SHORT = ["study", "circles", "--epochs", "2"]


def run(capsys, *arguments):
    """The command in this process: (exit code, stdout, stderr)."""
    with pytest.raises(SystemExit) as stop:
        cli.main(list(arguments))
    out, err = capsys.readouterr()
    return stop.value.code, out, err


def command(*arguments, **options):
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "scratchnn.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_help_lists_the_studies_and_their_options(capsys):
    code, out, err = run(capsys, "--help")
    assert (code, err) == (0, "")
    assert "study" in out
    assert run(capsys)[:2] == (0, out)
    code, out, err = run(capsys, "study", "--help")
    assert (code, err) == (0, "")
    assert all(name in out for name in studies.NAMES)
    code, out, err = run(capsys, "study", "circles", "--help")
    assert (code, err) == (0, "")
    options = "epochs lr batch-size hidden seed dtype no-reference device out quiet json help"
    assert all(f"--{option}" in out for option in options.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["study", "circles", "--epochs", "0"], ["epochs=0", "at least 1"]),
        (["study", "circles", "--epochs", "many"], ["--epochs"]),
        (["study", "circles", "--lr", "-0.1"], ["lr=-0.1", "positive"]),
        (["study", "circles", "--lr", "nan"], ["lr=nan", "positive"]),
        (["study", "circles", "--lr", "inf"], ["lr=inf", "finite"]),
        (["study", "circles", "--lr", "0"], ["lr=0.0", "positive"]),
        (["study", "circles", "--batch-size", "0"], ["batch_size=0", "at least 1"]),
        (["study", "circles", "--hidden", "-3"], ["hidden=-3", "at least 1"]),
        (["study", "circles", "--seed", str(2**64)], ["seed", "2^64"]),
        (["study", "circles", "--seed", str(-(2**63) - 1)], ["seed", "2^63"]),
        (["study", "circles", "--dtype", "float16"], ["'float16'", "float32 or float64"]),
        (["study", "circles", "--device", "tpu"], ["'tpu'", "cuda"]),
        (["study", "circles", "--device", "cuda:x"], ["'cuda:x'", "cuda"]),
        (["study", "circles", "--nonsense"], ["--nonsense"]),
        (["study", "circles", "surplus"], ["surplus"]),
        (["study", "circle"], ["'circle'", "did you mean 'circles'"]),
        (["study", "zzz"], ["'zzz'", "circles"]),
        (["study"], ["Missing command"]),
        (["studdy"], ["studdy"]),
    ],
)
def test_a_wrong_value_gets_one_line_and_exit_code_2(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("scratchnn: ")
    assert all(word in err for word in words)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused(capsys, tmp_path):
    (tmp_path / "file").touch()
    code, out, err = run(capsys, *SHORT, "--out", str(tmp_path / "file"))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "--out" in err
    assert str(tmp_path / "file") in err
    if os.geteuid():  # root may write anywhere
        (tmp_path / "locked").mkdir(mode=0o555)
        assert run(capsys, *SHORT, "--out", str(tmp_path / "locked"))[0] == 2


def test_cuda_where_there_is_none_is_refused(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, out, err = run(capsys, *SHORT, "--device", "cuda", "--out", str(tmp_path))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "CUDA" in err
    assert list(tmp_path.iterdir()) == []


def test_quiet_prints_nothing(capsys, tmp_path):
    assert run(capsys, *SHORT, "--quiet", "--out", str(tmp_path)) == (0, "", "")
    assert len(list(tmp_path.iterdir())) == 4


def test_json_is_all_that_is_printed(capsys, tmp_path):
    code, out, err = run(capsys, *SHORT, "--json", "--no-reference", "--out", str(tmp_path))
    assert (code, err) == (0, "")
    numbers = json.loads(out)
    assert numbers["study"] == "circles"
    assert numbers["epochs"] == 2


def test_a_run_that_diverges_says_so(capsys, tmp_path):
    code, _, err = run(capsys, *SHORT, "--lr", "1e300", "--no-reference", "--out", str(tmp_path))
    assert code == 1
    assert err.count("\n") == 1
    assert "lr" in err
    assert [picture.name for picture in tmp_path.iterdir()] == ["data.png"]


def test_a_full_disk_gets_one_line(capsys, tmp_path, monkeypatch):
    def full(figure, path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("scratchnn.plots.save", full)
    code, _, err = run(capsys, *SHORT, "--out", str(tmp_path))
    assert code == 1
    assert err == f"scratchnn: {tmp_path / 'data.png'}: No space left on device\n"


@pytest.mark.parametrize(
    ("picture", "arguments"),
    [("data", ["--epochs", "1000000", "--no-reference"]), ("confusion", ["--epochs", "300"])],
    ids=["while scratchnn trains", "while PyTorch trains"],
)
def test_ctrl_c_stops_within_a_second_and_keeps_the_pictures(picture, arguments, tmp_path):
    arguments = ["study", "circles", *arguments, "--out", str(tmp_path)]
    code, err, seconds = interrupted(arguments, tmp_path / f"{picture}.png", later=0.5)
    assert seconds < 1
    assert code == 130
    assert err == f"scratchnn: stopped; the pictures made so far stay in {tmp_path}\n"
    assert (tmp_path / f"{picture}.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_a_broken_pipe_is_no_traceback(extra, tmp_path):
    process = command(*SHORT, "--no-reference", "--out", str(tmp_path), *extra)
    process.stdout.close()
    with process.stderr as err:
        assert err.read() == ""
    assert process.wait(20) == 1


def test_help_loads_nothing_heavy():
    program = """
import sys
from scratchnn import cli
try:
    cli.main(["study", "circles", "--help"])
except SystemExit as stop:
    assert stop.code == 0
heavy = {"torch", "numba", "matplotlib", "sklearn", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


WITHOUT_TORCH = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name="torch")

sys.meta_path.insert(0, NoTorch())
from scratchnn import cli
cli.main(sys.argv[1:])
"""


def without_torch(*arguments):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments], capture_output=True, text=True, timeout=60
    )


def test_without_torch_it_runs_and_says_in_one_line_how_to_get_the_comparison(tmp_path):
    done = without_torch(*SHORT, "--out", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = [line for line in done.stdout.splitlines() if "PyTorch" in line]
    assert 'pip install "scratchnn[reference]"' in line
    assert "test accuracy" in done.stdout
    assert len(list(tmp_path.iterdir())) == 4


def test_without_torch_json_has_no_parity(tmp_path):
    numbers = json.loads(without_torch(*SHORT, "--json", "--out", str(tmp_path)).stdout)
    assert numbers["parity"] is None
    assert numbers["seconds"]["pytorch"] is None


def test_without_torch_cuda_is_refused(tmp_path):
    done = without_torch(*SHORT, "--device", "cuda", "--out", str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert 'pip install "scratchnn[reference]"' in done.stderr
