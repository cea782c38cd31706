"""What every command of the package does alike: one sentence and a status for whatever goes wrong."""

import argparse
import io
import os
import sys
from collections.abc import Callable
from typing import TextIO

from codec_lib.errors import CodecError


class Parser(argparse.ArgumentParser):
    """Refuses wrong options in one sentence, with status 2."""

    def error(self, message: str):
        say(f"{message[0].upper()}{message[1:]}; try '{self.prog} --help'.")
        self.exit(2)


def count(text: str) -> int:
    """An option's value: 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above zero")
    return int(text)


def exit_status(command: Callable[[], object]) -> int:
    """Run a command: 0, or what it returns; 2 after one sentence on stderr, or 130 after Ctrl-C."""
    try:
        status = command()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has gone
        settle(sys.stdout)
        return 0
    except KeyboardInterrupt as error:
        say(f"Interrupted. {error}".rstrip())
        return 130
    except Exception as error:
        sentence = refusal(error)
        if sentence is None:
            raise
        say(sentence)
        if isinstance(error, OSError):
            settle(sys.stdout)
        return 2
    return status or 0


def refusal(error: Exception) -> str | None:
    """What to say of an error that is no mistake of ours, in one sentence; None of one that is."""
    match error:
        case CodecError():
            return str(error)
        case OSError():
            return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}."
        case ModuleNotFoundError() if error.name and not error.name.startswith("codec_lib"):
            return f"This needs the package {error.name}; pip install 'codecbook[train,report,notebooks]' brings it."
        case RuntimeError() if "allocate memory" in str(error) or "out of memory" in str(error):  # as torch has it
            return "There is not enough memory for this."
        case MemoryError():
            return "There is not enough memory for this."
    return None


def say(message: str) -> None:
    """One line on stderr, even where a file's name holds a line break; nothing stops where nobody can read it."""
    try:
        print(f"codec_lib: {' '.join(message.splitlines())}", file=sys.stderr, flush=True)
    except OSError:
        settle(sys.stderr)


class Nowhere(io.TextIOWrapper):
    """In place of a standard stream that whoever started us has closed: what is said there goes nowhere."""

    def __init__(self):
        super().__init__(io.BytesIO())


def settle(stream: TextIO) -> None:
    """Drop what cannot be printed, or Python would complain of it once more at its end."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
