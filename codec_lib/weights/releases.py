"""Which release has which weights, so that a file of any release finds a program that decodes it.

`data/releases.csv` has a line for each weight file of each release: `release,name,digest`, the digest being the first
8 bytes of the weights' SHA-256, as a `.cbk` file has them. Lines are added, never changed.
"""

import csv

from codec_lib.places import DATA

RELEASES = DATA / "releases.csv"


def releases_of(digest: bytes) -> list[str]:
    """The releases that have the weights of these first 8 bytes, the oldest first."""
    with open(RELEASES, newline="", encoding="utf-8") as file:
        return [row["release"] for row in csv.DictReader(file) if row["digest"] == digest.hex()]


def advice(digest: bytes) -> str:
    """Where to get weights that are not at hand: the end of a sentence."""
    found = releases_of(digest)
    return f"release {found[-1]} of codecbook has them" if found else "no release of codecbook has them"
