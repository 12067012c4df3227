"""Pictures of a few rows of a catalogue, for people to look at."""

import io
from collections.abc import Collection
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from hsjax.data.image import encoded_bytes, encoded_image
from hsjax.data.pixels import ImageError, decode_image
from hsjax.data.quarantine import Quarantine
from hsjax.data.records import Record
from hsjax.data.sources import SYNTHETIC, read_rows

Picture = UInt8[np.ndarray, "H W 3"]


def shown_pictures(
    config_data, records: Collection[Record], *, most: int = 96
) -> dict[int, Picture]:
    """{row: picture} of these records, at most `most` pixels high and wide.

    The catalogue is read again, as no run keeps its pictures as they came. What has no
    picture, or a broken one, is not there.
    """
    if config_data.path == SYNTHETIC:
        return {r.row: r.image for r in records if isinstance(r.image, np.ndarray)}
    column, wanted = config_data.columns.image, {record.row for record in records}
    if not column or not wanted:
        return {}
    root = Path(config_data.image_root or Path(config_data.path).parent)
    found = {}
    options = {"columns": (column,), "rows": max(wanted)}
    for row, values in read_rows(config_data.path, Quarantine(), **options):
        if row in wanted:
            picture = _shown(values.get(column), root, most, config_data)
            found |= {} if picture is None else {row: picture}
    return found


def _shown(value, root: Path, most: int, config_data) -> Picture | None:
    try:
        source = encoded_image(value, root=root)
        if source is None:
            return None
        data = encoded_bytes(source)
        with Image.open(io.BytesIO(data)) as header:
            size = np.array(header.size[::-1])
        resize = np.maximum(1, np.round(size * min(1, most / size.max()))).astype(int)
        limit = config_data.image.max_pixels
        return decode_image(data, resize=tuple(resize.tolist()), max_pixels=limit)
    except (ImageError, OSError, Image.DecompressionBombError):
        return None
