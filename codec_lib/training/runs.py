"""What a training run consists of; saved to and loaded from a checkpoint."""

import copy
import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from codec_lib.errors import BadData, Unsupported
from codec_lib.evaluation.timing import least
from codec_lib.networks import autoencoders, models
from codec_lib.networks.autoencoders import Autoencoder
from codec_lib.networks.gains import Gained
from codec_lib.networks.layers import Learning
from codec_lib.networks.priors.base import Prior
from codec_lib.registry import AUTOENCODERS
from codec_lib.training import checkpoints
from codec_lib.training.checkpoints import CHECKPOINT
from codec_lib.training.muon import Muon
from codec_lib.training.settings import LENGTHS, Settings

OPTIMISERS = {"adam": torch.optim.Adam, "muon": Muon}


def make_model(settings: Settings) -> Prior | Gained | Autoencoder:
    """A fresh model, of one rate or of a range, or an autoencoder, as the settings tell, or `Unsupported`."""
    if settings.model in AUTOENCODERS:
        if settings.bits is None:
            raise Unsupported(f"Say how many bits the quantiser of {settings.model} has: --bits 1, 2, 4 or 10.")
        if settings.lmbdas is not None:
            raise Unsupported(f"The rate of {settings.model} is that of its quantiser; leave --lmbdas out.")
        if settings.straight_through and AUTOENCODERS[settings.model].load().own_noise:
            raise Unsupported(f"The model {settings.model} has noise of its own; leave --straight-through out.")
        return autoencoders.make(settings.model, settings.preset, settings.bits, settings.straight_through)
    if settings.straight_through:
        raise Unsupported(f"The model {settings.model} always rounds straight through; leave the option out.")
    if settings.bits is not None:
        raise Unsupported(f"The model {settings.model} has no quantiser of {settings.bits} bits; leave --bits out.")
    if settings.lmbdas is None:
        return models.make(settings.model, settings.preset, settings.lmbda)
    return Gained(models.make(settings.model, settings.preset, settings.lmbdas[1]), settings.lmbda)


_PLAIN = ("step", "seconds", "rows", "started_from", "transforms_from", "length_changed")
"""What of a run a checkpoint keeps as it is."""


class Run:
    """The state of a training run: model, its running average, optimiser, step and clock."""

    def __init__(self, settings: Settings, model: nn.Module, device: torch.device, rank: int = 0, world: int = 1):
        self.settings, self.device, self.rank, self.world = settings, device, rank, world
        self.started_from: str | None = None
        self.transforms_from: str | None = None
        self.length_changed = False  # since the beginning: the learning rate fell otherwise than the settings say
        self.model = model.to(device)
        if settings.prior_only:
            for parameter in self.model.of_transforms():
                parameter.requires_grad_(False)
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        if settings.optimiser not in OPTIMISERS:
            raise Unsupported(f"There is no optimiser '{settings.optimiser}'; choose from {', '.join(OPTIMISERS)}.")
        self.optimiser = OPTIMISERS[settings.optimiser](parameter_groups(self.model, settings.lr))
        self.step, self.seconds = 0, 0.0
        self.rows: list[dict[str, float]] = []
        dtypes = {"auto": None, "float32": torch.float32, "bfloat16": torch.bfloat16}
        if settings.precision not in dtypes:
            raise Unsupported(f"There is no precision '{settings.precision}'; choose from {', '.join(dtypes)}.")
        self.dtype = dtypes[settings.precision] or faster_dtype(device)

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the running average towards the model; young averages forget faster."""
        decay = min(self.settings.average, (1 + self.step) / (10 + self.step))
        averaged, current = list(self.average.parameters()), list(self.model.parameters())
        torch._foreach_lerp_(averaged, current, 1 - decay)
        for kept, now in zip(self.average.buffers(), self.model.buffers(), strict=True):
            kept.copy_(now)  # batch normalisation averages by itself

    def save(self, out: Path) -> None:
        """Replace the checkpoint in `out`."""
        state = {
            "settings": asdict(self.settings), "model": self.model.state_dict(), "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict()["state"], "dtype": str(self.dtype),
        }  # fmt: skip
        checkpoints.write(out / CHECKPOINT, state | {name: getattr(self, name) for name in _PLAIN})

    def load(self, out: Path) -> None:
        """Go back to the checkpoint in `out`; `BadData` if there is none, it is damaged, or it is of another run."""
        path = out / CHECKPOINT
        if not path.is_file():
            raise BadData(f"There is no checkpoint {path} to resume from.")
        state = checkpoints.read(path, self.device)
        try:
            saved, wanted = state["settings"], json.loads(json.dumps(asdict(self.settings)))
            changed = [name for name in wanted if saved[name] != wanted[name] and name not in LENGTHS]
            if not changed:
                self.model.load_state_dict(state["model"])
                self.average.load_state_dict(state["average"])
                self._load_optimiser(state["optimiser"])
                for name in _PLAIN:
                    setattr(self, name, state[name])
                self.length_changed |= any(saved[n] != wanted[n] for n in LENGTHS)
                self.dtype = {"torch.float32": torch.float32, "torch.bfloat16": torch.bfloat16}[state["dtype"]]
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise BadData(f"The checkpoint {path} cannot be read; it is damaged or of another version.") from error
        if changed:
            raise BadData(f"The checkpoint {path} was made with another {changed[0]} ({saved[changed[0]]}).")

    def _load_optimiser(self, state: checkpoints.State) -> None:
        """What it knows of each parameter, laid out in memory as that is, for sums in the same order."""
        whole = self.optimiser.state_dict()
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        whole["state"] = {
            int(i): {name: _laid_out(value, parameters[int(i)]) for name, value in known.items()}
            for i, known in state.items()
        }
        self.optimiser.load_state_dict(whole)


def _laid_out(value: Tensor | float, parameter: Tensor) -> Tensor | float:
    """A value of an optimiser; where it has a parameter's shape, with its memory format."""
    if isinstance(value, Tensor) and value.shape == parameter.shape:
        return torch.empty_like(parameter).copy_(value)
    return value


def parameter_groups(model: nn.Module, lr: float) -> list[dict]:
    """The parameters that learn, in groups that learn alike, as their modules tell (`layers.Learning`)."""
    told: dict[nn.Parameter, Learning] = {}
    for module in model.modules():
        if hasattr(module, "learning"):
            told |= module.learning()
    groups: dict[Learning, list[nn.Parameter]] = {Learning(): []}
    for parameter in model.parameters():
        groups.setdefault(told.get(parameter, Learning()), []).extend([parameter] if parameter.requires_grad else [])
    return [
        {"params": parameters, "kernels": how.kernel, "lr": how.rate * lr, "peak": how.rate * lr}
        for how, parameters in groups.items()
        if parameters
    ]


def faster_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where a convolution runs at least 1.2 times as fast in it as in float32."""
    if device.type == "cuda":
        return torch.bfloat16

    def seconds(dtype: torch.dtype) -> float:
        conv = nn.Conv2d(64, 64, 3, padding=1).to(dtype).to(memory_format=torch.channels_last)
        x = torch.randn(8, 64, 32, 32, dtype=dtype).to(memory_format=torch.channels_last)
        return least(lambda: conv(x).sum().backward(), repeats=4)

    with torch.random.fork_rng(devices=[]):
        return torch.bfloat16 if seconds(torch.float32) > 1.2 * seconds(torch.bfloat16) else torch.float32
