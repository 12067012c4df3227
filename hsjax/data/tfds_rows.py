"""A data set that TFDS has prepared, as rows; without TensorFlow."""

import json
from collections.abc import Iterator
from pathlib import Path

from hsjax.data.quarantine import CatalogueError

_FACTS = ("dataset_info.json", "features.json")
_AT_ONCE = 256


def is_tfds(path: Path | str) -> bool:
    """Is it a version folder of a data set?"""
    return all((Path(path) / name).is_file() for name in _FACTS)


def import_tfds():
    """The package; CatalogueError where it is not installed."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise CatalogueError(
            f"tensorflow-datasets is not installed ({error}): pip install 'hsjax[tfds]'"
        ) from None
    return tfds


def tfds_names(path: Path | str) -> list[str]:
    """The columns of a data set."""
    facts = json.loads((Path(path) / "features.json").read_text())
    return [*facts["featuresDict"]["features"]]


def read_tfds(
    path: Path | str, rows: int | None
) -> Iterator[tuple[int, dict[str, bytes]]]:
    """(1-based row, values) of all parts, one after the other; pictures stay encoded.

    Raises:
      CatalogueError: it is not kept as ArrayRecord, or TFDS is not installed.
    """
    tfds = import_tfds()
    builder = tfds.builder_from_directory(str(path))
    kept = builder.info.file_format
    if kept is None or kept.value != "array_record":
        raise CatalogueError(f"{path} is kept as {kept}; build it as array_record")
    whole = {
        name: tfds.decode.SkipDecoding()
        for name, kind in builder.info.features.items()
        if isinstance(kind, tfds.features.Image)
    }
    row = 0
    for part in builder.info.splits:
        source = builder.as_data_source(split=part, decoders=whole)
        for first in range(0, len(source), _AT_ONCE):
            last = min(first + _AT_ONCE, len(source))
            for values in source.__getitems__(range(first, last)):
                row += 1
                if rows and row > rows:
                    return
                yield row, {name: _text(x, name in whole) for name, x in values.items()}


def _text(value, picture: bool):
    """Text as text: TFDS gives bytes."""
    if isinstance(value, bytes) and not picture:
        return value.decode("utf-8", "surrogateescape")
    return value.item() if hasattr(value, "item") and not value.shape else value
