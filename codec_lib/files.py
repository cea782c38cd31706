"""Writing files so that a reader never sees half of one."""

import contextlib
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from codec_lib.errors import BadData


def check_target(path: Path) -> None:
    """Refuse (`BadData`) to write a file whose folder is absent, or that is a folder itself."""
    if not path.parent.is_dir():
        raise BadData(f"The output folder {path.parent} does not exist.")
    if path.is_dir():
        raise BadData(f"Cannot write {path}: it is a folder.")


def replace_atomically(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then move it there in one step.

    A file that is replaced hands on its permissions, and a link leads to the new one. On any failure the temporary file
    is removed and what stood at `path` stays.

    Raises:
        BadData: the folder is absent or not writable, or the disk is full.
    """
    temporary = None
    try:
        check_target(Path(path))
        if os.path.exists(path) and not os.path.isfile(path):  # /dev/full, a pipe: nothing to replace
            with open(path, "wb") as file:
                write(file)
            return
        path = Path(os.path.realpath(path))
        temporary = path.with_name(f".part-{secrets.token_hex(8)}")
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.chmod(temporary, path.stat().st_mode & 0o777)
        os.replace(temporary, path)
    except OSError as error:
        raise BadData(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def write_bytes(path: str | Path, data: bytes) -> None:
    """`replace_atomically` for bytes that are already there."""
    replace_atomically(path, lambda file: file.write(data))


def write_json(path: str | Path, value: object) -> None:
    """`write_bytes` for a value as JSON that a person can read."""
    write_bytes(path, (json.dumps(value, indent=1) + "\n").encode())


def read_bytes(path: str | Path, read: Callable[[BinaryIO], bytes] = lambda file: file.read()) -> bytes:
    """The whole file, or what `read` takes of it; `BadData` if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return read(file)
    except OSError as error:
        raise BadData(f"Cannot read {path}: {error.strerror or error}.") from error
