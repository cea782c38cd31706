"""The wheel holds what a checkout has beside the package: `data/`, as the package `codec_lib.data`.

A wheel may have 60 MiB, and the weights of all models have more: it holds those of the models below.
"""

from setuptools import find_packages, setup

MODELS = ("hyperprior", "space-channel", "ae-*")

setup(
    packages=[*find_packages(include=["codec_lib*"]), "codec_lib.data"],
    package_dir={"codec_lib.data": "data"},
    package_data={
        "codec_lib.data": [
            "*.csv",
            *(f"weights/{model}-*.{suffix}" for model in MODELS for suffix in ("json", "safetensors")),
        ]
    },
)
