"""Codecbook: learned image compression as real files that decode to the same symbols anywhere."""

import os

# Both are read when torch is imported. Threads of torch that wait shall sleep. By default they spin, and where other
# programs compute too they take the time that they wait for: beside one busy process, encoding took two to three times
# as long. Large tensors shall lie on large pages: faults of small ones cost 5 % of the time, and a sixth of the memory.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

__version__ = "0.2.0"
__all__ = ["load"]


def __getattr__(name: str):
    # `codec_lib.load` is public, but importing the package must not import torch.
    if name == "load":
        from codec_lib.weights.weight_files import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
