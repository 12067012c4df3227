"""What a config has to say otherwise to read a catalogue that was written anew."""

import shlex
from pathlib import Path

from hsjax.data.rewrite import pictures_outside
from hsjax.data.same_split import SameSplit


def reading_keys(config, path: Path, same: SameSplit) -> dict[str, str]:
    """{key: value} for the catalogue at `path`."""
    keys = {"data.path": str(path)} | same.reading_keys()
    if not config.data.image_root and pictures_outside(config.data):
        keys["data.image_root"] = str(Path(config.data.path).parent.resolve())
    return keys


def keys_told(keys: dict[str, str]) -> str:
    """As flags, a line each, to be pasted into a shell.

    >>> print(keys_told({"data.path": "my shop.csv", "data.label_map": ""}))
      --config.data.path="my shop.csv" \\
      --config.data.label_map=
    """
    flags = [f"  --config.{key}={quoted(value)}" for key, value in keys.items()]
    return " \\\n".join(flags)


def quoted(value: str) -> str:
    """A value as a shell takes it for one word.

    >>> print(quoted("('label',)"), quoted("a.csv"), quoted("$HOME"))
    "('label',)" a.csv '$HOME'
    """
    if not value or shlex.quote(value) == value:
        return value
    inside = set(value) & set('"$`\\!')
    return shlex.quote(value) if inside else f'"{value}"'
