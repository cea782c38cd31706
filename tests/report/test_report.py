"""The report runs its graph, tells how far it is, and says in one sentence what went wrong."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from codec_lib.places import ROOT
from codec_lib.report import execution, pages
from codec_lib.report import runner as report

GRAPH = '''
rule report:
    input: "out/a", "out/b", "out/c"
rule one:
    output: "out/{name}"
    shell: """{COMMAND}"""
'''


@pytest.fixture
def graph(tmp_path, monkeypatch):
    """A checkout whose graph makes three files by a command."""
    for name, path in {"ROOT": tmp_path, "LOG": tmp_path / "build" / "log", "INDEX": tmp_path / "index"}.items():
        monkeypatch.setattr(report, name, path)

    def write(command: str) -> Path:
        (tmp_path / "Snakefile").write_text(GRAPH.replace("{COMMAND}", command))
        return tmp_path / "out"

    return write


def test_what_is_missing_is_made_and_nothing_else(graph, capsys):
    out = graph("date +%N > {output}")
    assert report.run([], "embedded", 2) == []
    assert "4/4" in capsys.readouterr().err, "the bar counts the steps"
    first = {path.name: path.read_text() for path in out.iterdir()}
    assert sorted(first) == ["a", "b", "c"]
    (out / "b").unlink()
    assert report.run([], "embedded", 2, progress=False) == []
    second = {path.name: path.read_text() for path in out.iterdir()}
    assert [name for name in first if first[name] != second[name]] == ["b"]


def test_two_jobs_run_at_a_time(graph):
    """Each of the first two waits for the other's beginning."""
    both = "[ $(ls out | grep -c began) -ge 2 ]"
    out = graph(
        "touch out/began_{wildcards.name}; "
        f"for i in $(seq 100); do {both} && break; sleep 0.1; done; {both} && touch {{output}}"
    )
    assert report.run([], "embedded", 2, progress=False) == []
    assert (out / "c").is_file()


def test_what_a_job_says_is_passed_on_and_the_others_are_finished(graph, capsys, monkeypatch):
    out = graph("[ {wildcards.name} != b ] && touch {output} || (echo 'codec_lib: B is broken.' >&2; exit 1)")
    monkeypatch.setattr(report.datasets, "open_pictures", lambda dataset: [])
    assert report.main(["--dataset", "embedded", "--jobs", "2", "--quiet"]) == 1
    assert "codec_lib: B is broken.\n" in capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == ["a", "c"]


def test_a_graph_that_cannot_be_read_is_one_sentence(graph, tmp_path):
    graph("")
    (tmp_path / "Snakefile").write_text("rule: nonsense nonsense")
    (sentence,) = report.run([], "embedded", 1, progress=False)
    assert "build/log" in sentence
    assert (tmp_path / "build" / "log").read_text()


def test_without_kodak_the_report_says_so(monkeypatch, capsys):
    monkeypatch.setattr(report.datasets, "kodak_or_embedded", lambda: "embedded")
    monkeypatch.setattr(report, "run", lambda targets, dataset, jobs, progress: [])
    assert report.main([]) == 0
    assert "neither here nor can it be fetched" in capsys.readouterr().out


def test_an_unknown_data_set_is_one_sentence(capsys):
    assert report.main(["--dataset", "nowhere"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.fixture
def slow(tmp_path):
    """Starts a report in a checkout of its own; its one job is as long as a file says, 60 s at first."""
    shutil.copytree(ROOT / "codec_lib", tmp_path / "codec_lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "data", tmp_path / "data", ignore=shutil.ignore_patterns("weights"))
    (tmp_path / "Snakefile").write_text(
        'rule report:\n    output: "a"\n    shell: "touch began; sleep $(cat seconds); touch {output}"\n'
    )
    (tmp_path / "seconds").write_text("60")
    command = [sys.executable, "-m", "codec_lib.report", "--dataset", "embedded", "--quiet"]
    options = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(tmp_path)}, "stderr": subprocess.PIPE}

    def start() -> subprocess.Popen:
        return subprocess.Popen(command, **options, text=True, start_new_session=True)

    return start


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.1)


def test_ctrl_c_ends_the_jobs_too(slow, tmp_path):
    with slow() as process:
        wait_for(tmp_path / "began")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "goes on from there" in said
    assert not (tmp_path / "a").exists()


def test_a_report_that_was_killed_is_gone_on_with(slow, tmp_path):
    """Snakemake's lock, which nothing of a killed report removes, stops nobody; a report that lives does."""
    with slow() as process:
        wait_for(tmp_path / "began")
        with slow() as second:
            _, said = second.communicate(timeout=60)
        assert second.returncode == 2 and "Another process is making the report" in said
        os.killpg(process.pid, signal.SIGKILL)
    assert any((tmp_path / ".snakemake" / "locks").iterdir())
    (tmp_path / "seconds").write_text("0")
    with slow() as process:
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")
    assert (tmp_path / "a").exists()
    assert (tmp_path / "build" / "report.lock").read_bytes() == b""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A checkout whose report is up to date: what the graph makes is there, empty, and newer than all else."""
    place = tmp_path_factory.mktemp("made")
    for name in ("codec_lib", "notebooks", "data"):
        ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        shutil.copytree(ROOT / name, place / name, ignore=ignored)
    shutil.copy(ROOT / "Snakefile", place)
    for path in place.rglob("*"):
        os.utime(path, (1e9, 1e9))
    said = dry_run(place, "--forceall", "--printshellcmds")
    (place / "said").write_text(said)
    for name in outputs(said):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch()
    return place


def dry_run(place: Path, *options: str) -> str:
    """What the graph says that it would do in a checkout."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--config", "dataset=embedded", "-n", *options]
    environment = os.environ | {"PYTHONPATH": str(place)}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def outputs(said: str) -> list[str]:
    return re.findall(r"^ +output: (.*)$", said, re.M)


def test_the_graph_of_the_report_is_complete(made):
    assert {path.stem for path in (made / "build" / "report").iterdir()} == {*execution.stems(), "index"}
    for name in ("joint-compact-q3", "factorized-compact-q0.torchac", "ae-strided-compact-q2", "jpeg", "times"):
        assert (made / "build" / "measured" / "embedded" / f"{name}.csv").is_file()


def test_its_commands_for_notebooks_are_understood(made, monkeypatch):
    """Without a second test set, too: an empty word is lost on the way, quoted or not."""
    commands = re.findall(r"-m codec_lib.report.pages (.* --only execution .*)$", (made / "said").read_text(), re.M)
    executed = []
    monkeypatch.setattr(execution, "execute", lambda *given: executed.append(given))
    assert [pages.main(shlex.split(command)) for command in commands] == [0] * len(execution.stems())
    assert sorted(executed) == [(stem, "embedded", "build/measured", "") for stem in execution.stems()]


def test_only_what_its_inputs_changed_is_made_again(made):
    """All notebooks but 01 read the card; the look of pages is a matter of pages alone."""
    changed = ("data/weights/hyperprior-compact.json", "codec_lib/report/webpage.py")
    for name in changed:
        os.utime(made / name)
    again = {Path(name).name for name in outputs(dry_run(made, "--rerun-triggers", "mtime")) if "report/" in name}
    executed = {stem for stem in execution.stems() if stem[:2] != "01"}
    assert len(executed) == len(execution.stems()) - 1
    written = [f"{stem}.html" for stem in execution.stems()]
    assert again == {"index.html", *(f"{stem}.ipynb" for stem in executed), *written}
