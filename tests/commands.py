"""The command line in a process of its own, and what its refusals look like."""

import os
import re
import subprocess
import sys
from pathlib import Path

from codec_lib.places import ROOT

SENTENCE = re.compile(r"codec_lib: \S.*\.\n")


def python(*arguments: object, **options) -> subprocess.CompletedProcess:
    """Run `python -m codec_lib` as a process of its own, in a terminal that wants sound UTF-8."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8:strict"}
    environment.pop("PYTHONUNBUFFERED", None)
    command = [sys.executable, "-W", "error", "-m", "codec_lib", *map(str, arguments)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run(command, env=environment, text=True, timeout=300, check=False, **options)


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def assert_refused(answer: tuple[int, str, str], word: str = ""):
    status, out, err = answer
    assert (status, out) == (2, "")
    assert SENTENCE.fullmatch(err), err
    assert word in err
