"""What a config has to say otherwise to read a catalogue that was written anew."""

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
    """As flags, a line each."""
    return "\n".join(f"  --config.{key}={value}" for key, value in keys.items())
