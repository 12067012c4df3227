"""JSON objects that people write by hand: a mistake is told with its place."""

import json
from collections.abc import Sequence
from pathlib import Path

from hsjax.spelling import meant
from hsjax.train.workdir import ConfigError


def read_object(line: str, place: str, known: Sequence[str]) -> dict:
    """A JSON object with no other fields than the known ones.

    Raises:
      ConfigError: it is none, or has another field.
    """
    try:
        found = json.loads(line, object_pairs_hook=_once)
    except ValueError as error:
        raise ConfigError(f"{place}: no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{place}: no JSON object with {', '.join(known)}")
    for key in found.keys() - set(known):
        raise ConfigError(
            f"{place}: {key!r} is unknown.{meant(key, known)} Known: {', '.join(known)}"
        )
    return found


def _once(pairs: list[tuple[str, object]]) -> dict:
    """An object; ValueError: a key stands twice in it, where JSON takes the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"{twice!r} stands twice in one object")
    return found


def text_of(path: Path) -> str:
    """What a file says; ConfigError: it cannot be read as UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no text in UTF-8: {error}") from None
