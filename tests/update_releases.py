"""Write the weights of this release into `data/releases.csv`; lines of other releases stay.

Run it after weights were published: python tests/update_releases.py
"""

import csv
import json

from codec_lib import __version__, tables
from codec_lib.places import WEIGHTS
from codec_lib.weights.releases import RELEASES

if __name__ == "__main__":
    with open(RELEASES, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["release"] != __version__]
    cards = [json.loads(path.read_bytes()) for path in sorted(WEIGHTS.glob("*.json"))]
    rows += [{"release": __version__, "name": card["name"], "digest": card["digest"][:16]} for card in cards]
    tables.write_csv(RELEASES, rows)
