"""Whatever goes wrong in a command is one sentence and a status."""

import runpy
import subprocess
import sys
from types import SimpleNamespace

import pytest
from commands import SENTENCE

from codec_lib.__main__ import main
from codec_lib.command_line import Parser, exit_status
from codec_lib.errors import BadData
from codec_lib.places import ROOT


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (None, 0, ""),
        (BadData("It is\nso."), 2, "codec_lib: It is so.\n"),
        (MemoryError(), 2, "codec_lib: There is not enough memory for this.\n"),
        (RuntimeError("can't allocate memory"), 2, "codec_lib: There is not enough memory for this.\n"),
        (FileNotFoundError(2, "No such file or directory", "x"), 2, "codec_lib: No such file or directory: x.\n"),
        (KeyboardInterrupt("Saved at step 3."), 130, "codec_lib: Interrupted. Saved at step 3.\n"),
        (KeyboardInterrupt(), 130, "codec_lib: Interrupted.\n"),
    ],
)
def test_exit_status(error, status, said, capfd):
    def command():
        if error:
            raise error

    assert exit_status(command) == status
    assert capfd.readouterr() == ("", said)


def test_a_command_may_have_a_status_of_its_own():
    assert exit_status(lambda: 1) == 1


def test_a_mistake_of_ours_is_not_hidden():
    def command():
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        exit_status(command)


def test_wrong_options_are_one_sentence(capfd):
    with pytest.raises(SystemExit) as left:
        Parser(prog="x").parse_args(["--nothing"])
    assert left.value.code == 2
    assert SENTENCE.fullmatch(capfd.readouterr().err)


@pytest.mark.parametrize(
    "module",
    [
        "training.recipe",
        "training.ablations",
        "training.publishing",
        "evaluation.measurements",
        "report.pages",
        "report",
    ],
)
@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
def test_the_other_commands_do_alike(module, monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["x", "--nothing"])
    with pytest.raises(SystemExit) as left:
        runpy.run_module(f"codec_lib.{module}", run_name="__main__", alter_sys=True)
    out, err = capfd.readouterr()
    assert (left.value.code, out) == (2, "")
    assert SENTENCE.fullmatch(err), err


def test_a_reader_that_has_gone_is_no_failure():
    program = (
        "import sys; from codec_lib.command_line import exit_status; sys.exit(exit_status(lambda: print('a' * 10**6)))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0


def test_ctrl_c_while_the_command_is_imported_ends_quietly(monkeypatch, capsys):
    def interrupted(name: str, *_):
        raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "codec_lib.commands.parser", raising=False)
    monkeypatch.delattr("codec_lib.commands.parser", raising=False)
    monkeypatch.setattr(sys, "meta_path", [SimpleNamespace(find_spec=interrupted)])
    assert main() == 130
    assert capsys.readouterr() == ("", "")
