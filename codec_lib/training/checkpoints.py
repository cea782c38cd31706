"""Checkpoints: nested tables of tensors and plain values <-> one safetensors file, whose checksum tells damage."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from codec_lib.codecs.weight_rounding import digest_of
from codec_lib.errors import BadData
from codec_lib.files import write_bytes

CHECKPOINT = "checkpoint.safetensors"

State = dict[str, Any]
"""Names -> tensors, values that JSON has, or such tables."""

_SEPARATOR = "/"


def write(path: Path, state: State) -> None:
    """Replace a checkpoint in one step, so that a full disk leaves the last one."""
    tensors, values = {}, {}
    for name, value in _leaves(state):
        if isinstance(value, Tensor):
            tensors[name] = value.detach().cpu().contiguous()
        else:
            values[name] = value
    described = {"values": json.dumps(values)}
    described["digest"] = _checksum(described["values"], tensors)
    write_bytes(path, safetensors_bytes(tensors, described))


def read(path: Path, device: torch.device | str = "cpu") -> State:
    """What `write` wrote; lists are lists, where tuples were given.

    Raises:
        BadData: it is damaged, or no checkpoint of this version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            described = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if described["digest"] != _checksum(described["values"], tensors):
            raise ValueError("its checksum does not fit")
        leaves = json.loads(described["values"]) | {name: tensor.to(device) for name, tensor in tensors.items()}
        return _state(leaves)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadData(f"The checkpoint {path} cannot be read; it is damaged or of another version.") from error


def _state(leaves: State) -> State:
    """The tables whose leaves these are."""
    state: State = {}
    for name, value in leaves.items():
        *tables, last = name.split(_SEPARATOR)
        place = state
        for table in tables:
            place = place.setdefault(table, {})
        place[last] = value
    return state


def _leaves(state: State, prefix: str = "") -> list[tuple[str, Any]]:
    """All that is no table, or is an empty one, by its path."""
    found = []
    for name, value in state.items():
        if isinstance(value, dict) and value:
            found += _leaves(value, f"{prefix}{name}{_SEPARATOR}")
        else:
            found.append((f"{prefix}{name}", value))
    return found


def _checksum(values: str, tensors: dict[str, Tensor]) -> str:
    return digest_of([values], tensors).hex()
