"""torchac is compiled once, quietly, and by one process at a time."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from codec_lib.coding import torchac_extension


def test_two_processes_and_a_lock_that_a_killed_one_left_do_not_hang_torchac(tmp_path):
    """torch leaves its lock behind when a compilation is killed, and waits for it ever after."""
    torchac_extension.load()
    compiled = Path(sys.modules["torchac"].torchac.torchac_backend.__file__).parent
    shutil.copytree(compiled, tmp_path / "torchac_backend")
    (tmp_path / "torchac_backend" / "lock").touch()
    code = (
        "import numpy as np; from codec_lib.coding.integer_tables import Tables;"
        "from codec_lib.coding.range_coding import Writer;"
        "tables = Tables(np.array([2], np.int32), np.array([0], np.int32), np.array([65000, 536], np.int32));"
        "writer = Writer(tables, 'torchac'); writer.put(np.zeros(9, np.int32), np.zeros(9, np.int64));"
        "print(writer.finish().hex())"
    )
    env = os.environ | {"TORCH_EXTENSIONS_DIR": str(tmp_path)}
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    try:
        said = {process.communicate(timeout=100)[0] for process in processes}
    finally:
        for process in processes:
            process.kill()
    assert len(said) == 1 and len(said.pop()) > 4
    assert not (tmp_path / "torchac_backend" / "lock").exists()


def test_output_comes_back_after_the_silence(capfd):
    with pytest.raises(RuntimeError), torchac_extension._silence():
        print("unheard")
        raise RuntimeError
    print("heard")
    assert capfd.readouterr() == ("heard\n", "")


def test_a_warning_while_python_compiles_torchac_is_no_error(tmp_path):
    code = (
        f"import sys, warnings, torch; sys.pycache_prefix = {str(tmp_path)!r}; warnings.simplefilter('error');"
        "from codec_lib.coding import torchac_extension; torchac_extension.load()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
