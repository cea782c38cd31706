"""A finished training run -> a weight file and its card."""

import json
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch

from codec_lib import __version__, codec, datasets, evaluation
from codec_lib.codec import Codec
from codec_lib.errors import BadData
from codec_lib.files import write_bytes
from codec_lib.runs import Run


def release(run: Run, folder: Path, progress: bool = True) -> tuple[Path, dict]:
    """Freeze a run's averaged weights, write NAME.safetensors and the card NAME.json.

    The card tells the settings, the compute, the versions, the last validation, and bpp and PSNR on
    Kodak from files, where Kodak is on this machine.

    Returns:
        The weight file's path and the card.
    """
    settings = run.settings
    frozen = codec.freeze(run.average, settings.preset, settings.lmbda)
    path = codec.weights_path(settings.model, settings.preset, frozen.quality, folder)
    card = {
        "name": path.stem,
        **{k: v for k, v in asdict(settings).items() if k not in ("steps", "epochs", "minutes", "precision")},
        "steps": run.step,
        "minutes": round(run.seconds / 60, 1),
        "precision": str(run.dtype).removeprefix("torch."),
        "started_from": run.started_from,
        "device": _device(run.device),
        "versions": {"codec_lib": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "parameters": sum(p.numel() for p in frozen.network.parameters()),
        "digest": frozen.digest.hex(),
        "validation": run.rows[-1] if run.rows else None,
        "loss_curve": [{k: row[k] for k in ("step", "minutes", "val_loss")} for row in run.rows],
        "kodak": _kodak(frozen, progress),
    }
    frozen.save(path)
    write_bytes(path.with_suffix(".json"), (json.dumps(card, indent=1) + "\n").encode())
    return path, card


def _kodak(frozen: Codec, progress: bool) -> dict | None:
    try:
        paths = datasets.find("kodak")
    except BadData:
        return None
    means = evaluation.summary(evaluation.evaluate(frozen, paths, progress=progress))
    return {name: round(means[name], 4) for name in ("bpp", "psnr", "ms_ssim")}


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads, {platform.machine()}"


def read_card(model: str, preset: str, quality: int, folder: Path = codec.WEIGHTS) -> dict:
    """The card of a weight file.

    Raises:
        BadData: there is none, or it is damaged.
    """
    path = codec.weights_path(model, preset, quality, folder).with_suffix(".json")
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadData(f"The card {path} cannot be read.") from error
