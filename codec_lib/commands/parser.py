"""All commands in one parser."""

import argparse
import sys
from pathlib import Path

import codec_lib
from codec_lib.command_line import Nowhere, Parser, exit_status
from codec_lib.commands import data, decode, encode, evaluate, info, models, train

COMMANDS = (encode, decode, info, models, train, evaluate, data)
"""Each has HELP, `add_options(parser)` and `run(args)`, whose result is the exit status if it is not None."""


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Names the defaults that there are, but no "(default: None)"."""

    def _get_help_string(self, action: argparse.Action) -> str:
        nothing = action.default is None or action.default is False
        return action.help if nothing else super()._get_help_string(action)


def parser() -> Parser:
    """The whole command line."""
    installed = Path(sys.argv[0]).stem == "codecbook"
    top = Parser(
        prog="codecbook" if installed else "python -m codec_lib", description="Learned image compression as real files."
    )
    top.add_argument("--version", action="version", version=f"codecbook {codec_lib.__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in COMMANDS:
        name = module.__name__.rpartition(".")[2]
        p = commands.add_parser(name, help=module.HELP, description=module.HELP, formatter_class=_Formatter)
        module.add_options(p)
        p.set_defaults(run=module.run)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run a command; 0, or 1 if some of many files failed, 2 after one sentence on stderr, or 130 after Ctrl-C."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Nowhere())
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no text
    args = parser().parse_args(arguments)
    return exit_status(lambda: args.run(args))
