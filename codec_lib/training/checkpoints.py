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

_TENSOR = "tensor"
"""The one name of the table that stands for a tensor in the JSON; its value is the tensor's name in the file."""


def write(path: Path, state: State) -> None:
    """Replace a checkpoint in one step, so that a full disk leaves the last one."""
    tensors: dict[str, Tensor] = {}

    def put_aside(tensor: Tensor) -> dict[str, str]:
        name = str(len(tensors))
        tensors[name] = tensor.detach().cpu().contiguous()
        return {_TENSOR: name}

    values = json.dumps(state, default=put_aside)
    write_bytes(path, safetensors_bytes(tensors, {"values": values, "digest": digest_of([values], tensors).hex()}))


def read(path: Path, device: torch.device | str = "cpu") -> State:
    """What `write` wrote, lists where tuples were given; `BadData` if it is damaged or of another version."""
    try:
        with safe_open(path, framework="pt") as file:
            described = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if described["digest"] != digest_of([described["values"]], tensors).hex():
            raise ValueError("its checksum does not fit")
        return json.loads(
            described["values"], object_hook=lambda t: tensors[t[_TENSOR]].to(device) if t.keys() == {_TENSOR} else t
        )
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise BadData(f"The checkpoint {path} cannot be read; it is damaged or of another version.") from error
