"""A reader never sees half of a file, and a failed write leaves everything as it was."""

import ast
import errno
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import kill
import pytest

from codec_lib import files
from codec_lib.errors import BadData

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def failing(*_, **__):
    raise FULL


def assert_is_a_sentence(message: str):
    assert "\n" not in message
    assert message.endswith(".")
    assert message[0].isupper()


def test_bytes_come_back(tmp_path):
    path = tmp_path / "a.bin"
    files.write_bytes(path, bytes(range(256)))
    assert files.read_bytes(path) == bytes(range(256))
    assert contents(tmp_path) == {"a.bin": bytes(range(256))}


def test_an_existing_file_is_replaced(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"a longer file that was here before")
    files.write_bytes(str(path), b"new")
    assert contents(tmp_path) == {"a.bin": b"new"}


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_permissions_are_those_of_any_new_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        files.write_bytes(tmp_path / "a.bin", b"x")
        (tmp_path / "b.bin").write_bytes(b"x")
        assert os.umask(umask) == umask  # still set
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("a.bin", "b.bin")]
    assert modes[0] == modes[1] == 0o666 & ~umask


def test_a_reader_sees_the_old_file_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    seen = []

    def write(file):
        file.write(b"ne")
        file.flush()
        seen.append(path.read_bytes())
        file.write(b"w")

    files.replace_atomically(path, write)
    assert seen == [b"old"]
    assert contents(tmp_path) == {"a.bin": b"new"}


@pytest.mark.parametrize(
    "broken, existing", [("fsync", None), ("fsync", b"old"), ("replace", None), ("replace", b"old"), ("chmod", b"old")]
)
def test_a_full_disk_keeps_what_was_there(tmp_path, monkeypatch, broken, existing):
    path = tmp_path / "a.bin"
    if existing is not None:
        path.write_bytes(existing)
    before = contents(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, broken, failing)
        with pytest.raises(BadData, match="No space left on device") as caught:
            files.write_bytes(path, b"new")
    assert_is_a_sentence(str(caught.value))
    assert str(path) in str(caught.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("error", [FULL, ValueError("not an OSError"), KeyboardInterrupt()])
def test_a_writer_that_fails_midway_leaves_nothing(tmp_path, error):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"half")
        file.flush()
        raise error

    with pytest.raises(BadData if isinstance(error, OSError) else type(error)):
        files.replace_atomically(path, write)
    assert contents(tmp_path) == {"a.bin": b"old"}


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this system has no /dev/full")
def test_a_device_that_is_full_is_refused_and_stays(tmp_path):
    link = tmp_path / "full"  # so that a wrong move, by root, replaces the link and not the device
    link.symlink_to("/dev/full")
    with pytest.raises(BadData, match="No space left on device") as caught:
        files.write_bytes(link, b"x" * 100_000)
    assert_is_a_sentence(str(caught.value))
    assert link.is_symlink()
    assert list(tmp_path.iterdir()) == [link]


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        files.write_bytes(path, b"through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert path.is_fifo()


def bad_targets(folder: Path) -> dict[str, Path]:
    (folder / "folder").mkdir()
    (folder / "file").write_bytes(b"")
    return {
        "no folder": folder / "absent" / "a.bin",
        "a folder": folder / "folder",
        "below a file": folder / "file" / "a.bin",
        "a long name": folder / ("a" * 300),
    }


@pytest.mark.parametrize("kind", ["no folder", "a folder", "below a file", "a long name"])
def test_a_bad_target_is_named_in_one_sentence(tmp_path, kind):
    path = bad_targets(tmp_path)[kind]
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadData) as caught:
        files.write_bytes(path, b"x")
    assert_is_a_sentence(str(caught.value))
    assert str(path.parent) in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_longest_name_that_the_disk_allows_can_be_written(tmp_path):
    path = tmp_path / ("a" * 255)
    files.write_bytes(path, b"x")
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize("kind", ["no folder", "a folder", "below a file", "a long name"])
def test_what_cannot_be_read_is_named_in_one_sentence(tmp_path, kind):
    path = bad_targets(tmp_path)[kind]
    with pytest.raises(BadData) as caught:
        files.read_bytes(path)
    assert_is_a_sentence(str(caught.value))
    assert str(path) in str(caught.value)


# --- killed ---------------------------------------------------------------------------------


def test_what_is_killed_while_it_writes_leaves_the_old_file_or_the_new(tmp_path):
    path, rng = tmp_path / "a.bin", random.Random(19)
    code = (
        "import sys; from codec_lib.files import write_bytes; print(flush=True)\n"
        "while True:\n    for fill in (b'a', b'b'):\n        write_bytes(sys.argv[1], fill * 3_000_000)"
    )
    for _ in range(20):
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.communicate()
        if path.exists():
            data = path.read_bytes()
            assert len(data) == 3_000_000 and data.count(data[:1]) == len(data)
    assert path.exists()
    others = [p.name for p in tmp_path.iterdir() if p != path]
    assert others and all(name.startswith(".part-") and "." not in name[1:] for name in others)  # no suffix: never read


def test_killed_commands_leave_nothing_half_done_and_training_goes_on_exactly():
    assert kill.run(2, seed=19)[1] == []


def test_nothing_else_in_the_package_opens_a_file_to_write():
    """But the report's log, what swallows a compiler's words, and figures that are drawn into memory."""
    found = set()
    for path in sorted(Path(files.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                words = [
                    a.value for a in (*node.args, *(k.value for k in node.keywords)) if isinstance(a, ast.Constant)
                ]
                writes = any(isinstance(word, str) and re.fullmatch("[wax][bt+]*", word) for word in words)
                if (name in ("open", "fdopen") and writes) or name in ("write_text", "savefig", "to_csv", "save_file"):
                    found.add(path.name)
    assert found == {"files.py", "runner.py", "torchac_extension.py", "style.py"}


def test_permissions_are_handed_on_and_links_are_followed(tmp_path):
    path, link = tmp_path / "a", tmp_path / "link"
    files.write_bytes(path, b"old")
    path.chmod(0o600)
    link.symlink_to("a")
    files.write_bytes(link, b"new")
    assert (path.read_bytes(), path.stat().st_mode & 0o777, link.is_symlink()) == (b"new", 0o600, True)
