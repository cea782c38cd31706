"""Everything that decides a training run, and the options of `train` that tell it. Knows no torch."""

from dataclasses import asdict, dataclass

LENGTHS = ("steps", "epochs", "minutes")


@dataclass(frozen=True)
class Settings:
    """Everything that decides a training run. Exactly one of steps, epochs and minutes is set."""

    model: str
    lmbda: float
    preset: str = "compact"
    dataset: str = "train"
    steps: int | None = None
    epochs: int | None = None
    minutes: float | None = None
    batch_size: int = 16
    crop: int = 128
    lr: float = 1e-3
    seed: int = 0
    precision: str = "auto"
    compile: bool = False
    average: float = 0.998
    prior_only: bool = False
    bits: int | None = None
    straight_through: bool = False
    optimiser: str = "adam"
    last_lr: float = 0.01
    smallest_scale: float = 0.5
    largest_scale: float = 1.0
    random_start: bool = False
    lmbdas: tuple[float, float] | None = None


def option_of(name: str) -> str:
    """What a setting is called on the command line."""
    return f"--{name.replace('_', '-')}"


def options(settings: Settings) -> list[str]:
    """The options of `train` that give these settings, with none left to its defaults."""
    given = []
    for name, value in asdict(settings).items():
        if name == "lmbda" and settings.lmbdas is not None:
            continue  # it follows from the range
        if value is True:
            given.append(option_of(name))
        elif isinstance(value, tuple):
            given += [option_of(name), *map(str, value)]
        elif value is not None and value is not False:
            given += [option_of(name), str(value)]
    return given
