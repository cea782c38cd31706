"""The registry says what the modules say, and reading it imports none of them."""

import importlib
import subprocess
import sys

import pytest

from codec_lib import registry
from codec_lib.errors import Unsupported
from codec_lib.networks import models


@pytest.mark.parametrize("name", registry.models())
def test_a_class_has_the_name_that_it_is_found_by(name):
    entry = registry.entry(name)
    assert entry.load().name == name and 0 < entry.number < 256
    assert {"freeze", "from_tensors"} <= vars(entry.load_codec()).keys()


@pytest.mark.parametrize("style", registry.TRANSFORMS)
def test_transforms_have_the_presets_that_are_told(style):
    where, presets = registry.TRANSFORMS[style]
    assert tuple(importlib.import_module(where).PRESETS) == presets
    assert all(models.preset(name, 0.013).style == registry.style_of(name) == style for name in presets)


def test_what_has_no_entry_is_refused_with_what_has():
    for use, words in ((registry.entry, "factorized, hyperprior"), (registry.style_of, "compact, tiny, paper")):
        with pytest.raises(Unsupported, match=words):
            use("nothing")


def test_reading_the_registry_imports_no_model():
    code = "import sys, codec_lib.registry; print([m for m in sys.modules if 'torch' in m or '.networks' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
