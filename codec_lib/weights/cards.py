"""The card beside a weight file: JSON that tells how the weights were made. Knows no torch."""

import json
from collections.abc import Mapping
from pathlib import Path

from codec_lib.errors import BadData, CodecError
from codec_lib.files import read_bytes, write_json


def card_path(weights: Path) -> Path:
    """Where the card of a weight file lies."""
    return weights.with_suffix(".json")


def read_card_of(weights: Path) -> dict:
    """The card of a weight file; `BadData` where there is none, or it is damaged."""
    path = card_path(weights)
    try:
        card = json.loads(read_bytes(path))
        if not all(isinstance(run, dict) for run in runs_of(card)):
            raise ValueError("no card")
    except (CodecError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadData(f"The card {path} cannot be read.") from error
    return card


def card_if_any(weights: Path) -> dict:
    """The same; empty where there is none."""
    return read_card_of(weights) if card_path(weights).is_file() else {}


def runs_of(card: Mapping) -> list[dict]:
    """The runs that led to some weights, in order: those that they began from, then their own, which is the card."""
    return [*card.get("before", []), card]


def check_card(weights: Path, card: dict, digest: bytes) -> None:
    """Refuse (`BadData`) a card that is not that of the weights beside it, whose SHA-256 this is."""
    if card.get("digest") != digest.hex():
        raise BadData(f"The card {card_path(weights)} is not that of the weights beside it.")


def write_card(weights: Path, card: dict) -> None:
    """Put a card beside a weight file."""
    write_json(card_path(weights), card)
