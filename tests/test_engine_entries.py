"""Files of compiled code: read only where nobody else could have written them, and only whole."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scratchnn.engine import entries
from scratchnn.engine.entries import (
    UntrustedFolderError,
    base_folder,
    lock,
    make_private,
    read_entry,
    unlock,
    write_entry,
)

pwd = pytest.importorskip("pwd")  # modes and owners are of POSIX
resource = pytest.importorskip("resource")


@pytest.fixture
def umask() -> Iterator[None]:
    """Nothing is taken away from the modes of new files and folders."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# The folder ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SCRATCHNN_CACHE_DIR": "/given"}, "/given"),
        ({"SCRATCHNN_CACHE_DIR": "", "XDG_CACHE_HOME": "/xdg"}, "/xdg/scratchnn"),
        ({"SCRATCHNN_CACHE_DIR": "", "XDG_CACHE_HOME": "", "HOME": "HERE"}, "HERE/.cache/scratchnn"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "HERE"}, "HERE/.cache/scratchnn"),
        ({"HOME": ""}, "PWD/.cache/scratchnn"),
        ({}, "PWD/.cache/scratchnn"),
    ],
)
def test_where_the_folder_is(
    variables: dict[str, str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = pwd.getpwuid(os.getuid()).pw_dir
    for name in ("SCRATCHNN_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.replace("HERE", str(tmp_path)))
    assert str(base_folder()) == expected.replace("HERE", str(tmp_path)).replace("PWD", home)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"SCRATCHNN_CACHE_DIR": "cache"}, "SCRATCHNN_CACHE_DIR='cache' depends on the current folder"),
        ({"SCRATCHNN_CACHE_DIR": "~/cache"}, "give an absolute path"),
        ({"HOME": "/no/such/home"}, "no home folder; set SCRATCHNN_CACHE_DIR"),
        ({"HOME": "home"}, "no home folder"),
        ({"HOME": ""}, "no home folder"),  # and its user is in no list of users
        ({}, "no home folder"),
    ],
)
def test_where_there_is_no_folder(
    variables: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in ("SCRATCHNN_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UntrustedFolderError, match=message):
        base_folder()
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("umask")
def test_folders_are_made_for_the_user_alone(tmp_path: Path) -> None:
    folder = make_private(tmp_path / "a" / "b" / "key")
    assert folder == Path(os.path.realpath(tmp_path)) / "a" / "b" / "key"
    assert [mode(p) for p in (folder, folder.parent, folder.parent.parent)] == [0o700] * 3
    assert make_private(folder) == folder


def test_folders_that_others_can_write_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_private(tmp_path / "base" / "key")
    for open_to in (0o777, 0o702, 0o720):
        folder.chmod(open_to)
        with pytest.raises(UntrustedFolderError, match=f"others can write to .*{folder.name}.*chmod 700"):
            make_private(folder)
    folder.chmod(0o755)  # they may look
    make_private(folder)
    folder.parent.chmod(0o777)
    with pytest.raises(UntrustedFolderError, match=r"others can write to .*base, where"):
        make_private(folder)
    folder.parent.chmod(0o1777)  # as /tmp
    make_private(folder)
    folder.parent.chmod(0o775)  # the user's own group, where that is whose folder it is
    monkeypatch.setattr(os, "getegid", lambda: folder.parent.stat().st_gid)
    make_private(folder)
    monkeypatch.setattr(os, "getegid", lambda: folder.parent.stat().st_gid + 1)
    with pytest.raises(UntrustedFolderError, match="where"):
        make_private(folder)


def test_a_folder_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_private(tmp_path / "key")
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(UntrustedFolderError, match="belongs to another user"):
        make_private(folder)


def test_links_are_followed_before_anything_is_judged(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to("open")
    with pytest.raises(UntrustedFolderError, match="open, where"):
        make_private(tmp_path / "link" / "key")


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        make_private(tmp_path / "file" / "key")


# Entries ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("umask")
def test_an_entry_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "entry.bin"
    assert read_entry(path) is None
    for payload in (b"", b"one", bytes(range(256)) * 10):
        write_entry(path, payload)
        assert read_entry(path) == payload
    assert mode(path) == 0o600
    assert os.listdir(tmp_path) == ["entry.bin"]


def test_any_damage_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "entry.bin"
    write_entry(path, bytes(range(100)))
    whole = path.read_bytes()
    for at in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[at // 8] ^= 1 << at % 8
        path.write_bytes(damaged)
        assert read_entry(path) is None
    for cut in (0, 1, len(entries.MAGIC), len(whole) - 100, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert read_entry(path) is None
    path.write_bytes(whole + b"\0")
    assert read_entry(path) is None


def test_what_is_not_our_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "entry.bin"
    write_entry(path, b"code")
    for open_to in (0o606, 0o660, 0o622):
        path.chmod(open_to)
        assert read_entry(path) is None
    path.chmod(0o644)
    assert read_entry(path) == b"code"
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo", 0o600)
    for name in ("link", "folder", "fifo"):
        assert read_entry(tmp_path / name) is None
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert read_entry(path) is None


def test_a_full_disk(tmp_path: Path) -> None:
    """The entry that was there stays, and nothing is left aside."""
    path = tmp_path / "entry.bin"
    write_entry(path, b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write_entry(path, bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read_entry(path) == b"old"
    assert os.listdir(tmp_path) == ["entry.bin"]


# Locks --------------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from scratchnn.engine.entries import lock
assert lock(Path(sys.argv[1]), lambda: None) is not None
print("held", flush=True)
time.sleep(100)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_whoever_was_killed_holds_nothing(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    said = []

    def say() -> None:
        said.append("waiting")
        holder.kill()

    handle = lock(tmp_path / "lock", say)
    assert handle is not None
    unlock(handle)
    assert said == ["waiting"]


def test_patience_ends(
    holder: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "PATIENCE", 0.1)
    assert lock(tmp_path / "lock", lambda: None) is None
    assert holder.poll() is None


FORK = """
import os, signal, sys, time
from pathlib import Path
from scratchnn.engine.entries import lock, unlock
handle = lock(Path(sys.argv[1]), lambda: None)
child = os.fork()
if child == 0:
    time.sleep(100)
unlock(handle)  # the child still has the open file
other = os.fork()
if other == 0:
    os._exit(0 if lock(Path(sys.argv[1]), lambda: os._exit(2)) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]))
os.kill(child, signal.SIGKILL)
"""


def test_a_fork_does_not_take_the_lock_along(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK, str(tmp_path / "lock")], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "0\n", done.stderr


def test_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*arguments: object) -> None:
        raise OSError(entries.errno.ENOLCK, "No locks available")

    said: list[str] = []
    with monkeypatch.context() as changed:
        changed.setattr(entries.fcntl, "lockf", none)
        assert lock(tmp_path / "lock", lambda: said.append("waiting")) is None
    monkeypatch.setattr(entries, "fcntl", None)
    assert lock(tmp_path / "lock", lambda: said.append("waiting")) is None
    monkeypatch.undo()
    assert lock(tmp_path / "none" / "lock", lambda: said.append("waiting")) is None
    assert said == []
    handle = lock(tmp_path / "lock", lambda: said.append("waiting"))
    assert handle is not None
    unlock(handle)
