"""torchac itself, which compiles its C++ when it is first imported: quietly, and one process at a time."""

import contextlib
import io
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from codec_lib.errors import Unsupported

_LOCK = threading.Lock()  # what silences the compiler moves the descriptors of the whole process


def load() -> ModuleType:
    """torchac, compiled if it is not yet; `Unsupported` if that is not possible here."""
    with _LOCK:
        return sys.modules["torchac"] if "torchac" in sys.modules else _compiled()


def _compiled() -> ModuleType:
    with contextlib.suppress(ImportError):
        import ninja  # the package brings the program; torch looks for it on the PATH

        if ninja.BIN_DIR not in os.environ.get("PATH", "").split(os.pathsep):
            os.environ["PATH"] = os.pathsep.join([ninja.BIN_DIR, os.environ.get("PATH", "")])
    try:
        with _silence(), _alone("torchac_backend"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its escapes, where Python compiles it anew; pytest makes them errors
            import torchac
    except Exception as error:  # torch raises RuntimeError or OSError; setuptools has its own kinds
        raise Unsupported(
            "The coder torchac cannot be compiled here; install a C++ compiler (Debian: apt install g++) "
            "and the package ninja, or use --coder constriction."
        ) from error
    return torchac


@contextlib.contextmanager
def _alone(extension: str) -> Iterator[None]:
    """One process at a time compiles an extension of torch's; a lock that a killed one left to torch is removed.

    torch would wait for that lock for ever. Ours the system takes back from a process that ends, however it ends.
    """
    from filelock import FileLock
    from torch.utils.cpp_extension import _get_build_directory

    folder = Path(_get_build_directory(extension, verbose=False))
    with FileLock(folder.with_name(f"{extension}.codecbook-lock"), timeout=600):
        (folder / "lock").unlink(missing_ok=True)
        yield


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Nothing on stdout and stderr, from Python or from programs it starts."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                yield
        finally:
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            os.close(kept[0])
            os.close(kept[1])
