"""The wheel holds what a checkout has beside the package: `data/`, as the package `codec_lib.data`."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["codec_lib*"]), "codec_lib.data"],
    package_dir={"codec_lib.data": "data"},
    package_data={"codec_lib.data": ["*.csv", "weights/*.json", "weights/*.safetensors"]},
)
