"""The weights of a network as they are stored: few bits where few are enough, and a checksum of it all."""

import hashlib
import json

import torch
from torch import Tensor, nn

from codec_lib.errors import BadData
from codec_lib.networks.layers import MaskedConv2d, per_channel

_SCALE = ".scale"


def round_weights(model: nn.Module) -> dict[str, Tensor]:
    """Kernels in 8 bits with a scale for each row, the rest in half precision; weights that a mask hides become zero.

    A module where that costs much says so: `stored_as` names modules in it ("" is all of it) and their types.
    """
    masks = {f"{name}.weight": m.mask for name, m in model.named_modules() if isinstance(m, MaskedConv2d)}
    types = {
        f"{module}.{part}".strip(".") + ".": dtype
        for module, m in model.named_modules()
        for part, dtype in getattr(m, "stored_as", {}).items()
    }
    stored = {}
    for name, tensor in model.state_dict().items():
        tensor = (tensor.detach() * masks[name] if name in masks else tensor.detach()).cpu()
        if not tensor.is_floating_point():  # batch normalisation counts its batches
            stored[name] = tensor
            continue
        tensor = tensor.float()
        dtype = next((dtype for part, dtype in types.items() if name.startswith(part)), None)
        dtype = dtype or (torch.float16 if tensor.dim() < 2 else torch.int8)
        if dtype != torch.int8:
            stored[name] = tensor.to(dtype).contiguous() + 0.0  # no -0.0, which would be other bits
        else:
            scale = tensor.flatten(1).abs().amax(1) / 127
            scale[scale == 0] = 1.0
            rows = torch.round(tensor / per_channel(scale, tensor.dim())).nan_to_num()
            stored[name] = rows.to(torch.int8).contiguous()
            stored[name + _SCALE] = scale
    return stored


def restore(network: nn.Module, stored: dict[str, Tensor]) -> nn.Module:
    """Give a network the weights of a weight file.

    Raises:
        BadData: a weight is not finite.
        RuntimeError, KeyError: the tensors are not those of such a network.
    """
    for name, tensor in stored.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise BadData(f"The weights {name} hold numbers that are not finite or too large for half precision.")

    types = {name: tensor.dtype for name, tensor in network.state_dict().items()}

    def restored(name: str) -> Tensor:
        tensor = stored[name]
        if name + _SCALE not in stored:
            return tensor.to(types[name], copy=True)
        return (tensor * per_channel(stored[name + _SCALE], tensor.dim())).to(types[name])

    weights = {name: restored(name) for name in stored if not name.endswith(_SCALE)}
    network.load_state_dict(weights, assign=True)  # copying them once more takes a fifth of loading
    return network


def digest_of(described: list, tensors: dict[str, Tensor]) -> bytes:
    """SHA-256 of what JSON can hold and of tensors by name, 32 bytes."""
    digest = hashlib.sha256(json.dumps(described).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.digest()
