"""Training: a run, and the weights that come of it."""

import argparse
import math
from pathlib import Path

from codec_lib.commands import options
from codec_lib.errors import Unsupported
from codec_lib.registry import AUTOENCODERS
from codec_lib.training.settings import Settings, option_of

HELP = "Train a model; under torchrun on several devices."


def add_options(p: argparse.ArgumentParser) -> None:
    """The command's options; what `Settings` has, has its defaults."""
    _add_model(p)
    _add_length(p)
    _add_pictures(p)
    _add_learning(p)
    _add_start(p)
    p.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    p.add_argument("--quiet", action="store_true", help="no progress bar")


def _add(p: argparse.ArgumentParser, name: str, **about) -> None:
    """An option for a setting: of the type of its default, a switch where that is False."""
    default = Settings.__dataclass_fields__[name].default
    kind = {"action": "store_true"} if default is False else {"type": type(default), "default": default}
    p.add_argument(option_of(name), **kind, **about)


def _add_model(p: argparse.ArgumentParser) -> None:
    p.add_argument("--model", required=True, metavar="NAME", help=options.ALL_MODELS)
    rate = p.add_mutually_exclusive_group()
    rate.add_argument(
        "--lmbda", type=float,
        help="weight of the distortion; 0.0067, 0.013, 0.025, 0.0483 are qualities 1 to 4; "
        "not needed for autoencoders other than ae-vae and ae-vector",
    )  # fmt: skip
    rate.add_argument(
        "--lmbdas", type=float, nargs=2, metavar=("LOW", "HIGH"),
        help="one network for all rates between; 0.0035 to 0.093 are qualities 0 to 5",
    )  # fmt: skip
    p.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for checkpoint, log, weights and card"
    )
    p.add_argument("--bits", type=int, metavar="B", help="of an autoencoder's quantiser: 1, 2, 4 or 10")
    _add(p, "straight_through", help="round an autoencoder's latent in training, instead of noise")
    _add(p, "preset", metavar="NAME", help="paper, compact or tiny")


def _add_length(p: argparse.ArgumentParser) -> None:
    length = p.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, metavar="T", help="train this long (30, if no length is given)")
    length.add_argument("--epochs", type=int, metavar="E", help="train this many passes over the pictures")
    length.add_argument("--steps", type=int, metavar="S", help="train this many steps")


def _add_pictures(p: argparse.ArgumentParser) -> None:
    _add(p, "dataset", metavar="DIR", help="folder, or train, more, embedded, or several: train+more")
    _add(p, "batch_size", metavar="B", help="crops in a step, on each device")
    _add(p, "crop", metavar="PIXELS", help="side of a crop, a multiple of 16")
    _add(p, "smallest_scale", metavar="S", help="smallest factor by which pictures are scaled before cropping")
    _add(p, "largest_scale", metavar="S", help="largest such factor")


def _add_learning(p: argparse.ArgumentParser) -> None:
    _add(p, "seed", help="start of all random numbers")
    _add(p, "lr", metavar="R", help="highest learning rate")
    _add(p, "last_lr", metavar="SHARE", help="learning rate at the end, as a share of --lr")
    _add(p, "average", metavar="D", help="decay of the weights' average; 0: keep the last weights")
    _add(p, "optimiser", choices=("adam", "muon"), help="muon: a lower loss after as many steps")
    _add(p, "precision", choices=("auto", "float32", "bfloat16"), help="auto: whichever is faster here")
    _add(p, "compile", help="use torch.compile")


def _add_start(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--start", type=Path, metavar="FILE",
        help="begin from these weights (.safetensors), of any lmbda and any model with transforms of the same sizes",
    )  # fmt: skip
    p.add_argument(
        "--transforms", type=Path, metavar="FILE",
        help="take g_a and g_s from these weights, and the prior from --start",
    )  # fmt: skip
    _add(
        p, "random_start",
        help="begin at random, not as a classical transform coder or, ae-resnet18, from pretrained weights",
    )  # fmt: skip
    _add(
        p, "prior_only",
        help="train the prior alone; g_a and g_s stay as they are (ae-resnet18: the two layers next to the quantiser)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Train, then write the weights and their card."""
    from codec_lib.training import training
    from codec_lib.training.publishing import release

    if args.steps is None and args.epochs is None and args.minutes is None:
        args.minutes = 30.0
    if args.lmbdas is not None:
        args.lmbda, args.lmbdas = math.prod(map(abs, args.lmbdas)) ** 0.5, tuple(args.lmbdas)
    if args.lmbda is None:
        if args.model not in AUTOENCODERS or AUTOENCODERS[args.model].load().own_noise:
            raise Unsupported(
                f"The model {args.model} cannot be trained without --lmbda or --lmbdas; 0.013 is quality 2."
            )
        args.lmbda = 0.013  # a mere factor of the loss, where the rate is fixed
    names = Settings.__dataclass_fields__
    settings = Settings(**{k: v for k, v in vars(args).items() if k in names})
    origins, cards = _origins(args, settings)
    run = training.train(
        settings, args.out, args.resume, origins.get("start"), origins.get("transforms"), progress=not args.quiet
    )
    if run.rank == 0:
        path, card = release(run, args.out, progress=not args.quiet, source_cards=cards)
        measured = card["kodak"] or {}
        kodak = f"; Kodak {measured['bpp']:.3f} bpp, {measured['psnr']:.2f} dB" if measured else ""
        print(f"{path}: {card['steps']:,} steps, {card['minutes']} minutes{kodak}")


def _origins(args: argparse.Namespace, settings):
    """The codecs of --transforms and --start by option, and their cards."""
    from codec_lib.training.runs import make_model
    from codec_lib.weights import weight_files
    from codec_lib.weights.cards import card_if_any, check_card

    origins, cards = {}, []
    for option in ("transforms", "start"):
        file = getattr(args, option)
        if file is None:
            continue
        origins[option] = weight_files.read(file)
        if origins[option].network.dimensions != make_model(settings).dimensions:
            raise Unsupported(f"{file} holds transforms of other sizes than those to be trained.")
        if option == "start" and origins[option].quality is None and settings.lmbdas is None:
            raise Unsupported(f"{file} is for a range of rates, and so must be what begins from it: give --lmbdas.")
        if card := card_if_any(file):
            check_card(file, card, origins[option].digest)
            cards.append(card)
    transforms = origins.get("transforms")
    if transforms is None:
        return origins, cards
    if args.start is None or args.model in AUTOENCODERS:
        raise Unsupported("--transforms needs --start, whose prior goes with them; autoencoders have none.")
    if origins["start"].model != args.model:
        raise Unsupported(f"--transforms needs a --start that holds the prior of a {args.model} model.")
    if (settings.lmbdas is None) != (transforms.quality is not None):
        raise Unsupported("Transforms and what is trained must both be for one rate, or both for every rate.")
    if settings.lmbdas is None and transforms.lmbda != settings.lmbda:
        raise Unsupported(
            f"The transforms of {args.transforms} are for lmbda {transforms.lmbda}, not {settings.lmbda}."
        )
    return origins, cards
