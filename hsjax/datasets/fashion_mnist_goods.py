"""Fashion-MNIST (Xiao et al., 2017), 70,000 grey pictures of 28 x 28 pixels.

Where: https://github.com/zalandoresearch/fashion-mnist, in data/fashion, four files:
`train-images-idx3-ubyte.gz`, `train-labels-idx1-ubyte.gz` and `t10k-` of both, packed
as they are or unpacked.

Licence: MIT.

Label: the ten classes are flat; the levels above them are ours: Clothing > Tops >
Pullover, Shoes > Open shoes > Sandal and so on, 3 / 7 / 10. There is no text. The
official test part is kept; validation is carved from the training part by the run.
"""

import gzip
import io
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.datasets.goods import Download, Rows

CLASSES = (
    ("Clothing", "Tops", "T-shirt/top"),
    ("Clothing", "Trousers", "Trouser"),
    ("Clothing", "Tops", "Pullover"),
    ("Clothing", "Dresses", "Dress"),
    ("Clothing", "Outerwear", "Coat"),
    ("Shoes", "Open shoes", "Sandal"),
    ("Clothing", "Tops", "Shirt"),
    ("Shoes", "Closed shoes", "Sneaker"),
    ("Bags", "Bags", "Bag"),
    ("Shoes", "Closed shoes", "Ankle boot"),
)
_FILES = {"train": "train", "test": "t10k"}
_UBYTE = 0x08  # the type of the values, in the third byte of a file


def read(folder: Path, quarantine: Quarantine) -> Rows:
    """Rows of the four files; CatalogueError where one is missing or torn."""
    for part, name in _FILES.items():
        pictures = _array(folder / f"{name}-images-idx3-ubyte", dimensions=3)
        labels = _array(folder / f"{name}-labels-idx1-ubyte", dimensions=1)
        if len(pictures) != len(labels) or labels.max(initial=0) >= len(CLASSES):
            raise CatalogueError(f"{folder}: labels of {name} do not fit its pictures")
        for row, (pixels, label) in enumerate(zip(pictures, labels, strict=True), 1):
            level1, level2, level3 = CLASSES[int(label)]
            yield {
                "id": f"{part}{row}",
                "split": part,
                "image": _png(pixels),
                "level1": level1,
                "level2": level2,
                "level3": level3,
            }


def _array(path: Path, *, dimensions: int) -> np.ndarray:
    """An IDX file, packed or not."""
    packed = path.with_name(f"{path.name}.gz")
    if not (packed.exists() or path.exists()):
        raise CatalogueError(f"{packed} is not there: the data set has four such files")
    try:
        data = (
            path.read_bytes() if path.exists() else gzip.decompress(packed.read_bytes())
        )
    except (OSError, EOFError, zlib.error) as error:
        raise CatalogueError(f"{packed} is torn ({error}); download it again") from None
    start = 4 + 4 * dimensions
    shape = np.frombuffer(data[4:start], ">u4") if len(data) >= start else ()
    kind = (0, 0, _UBYTE, dimensions)
    if tuple(data[:4]) != kind or len(data) != start + np.prod(shape, dtype=np.int64):
        raise CatalogueError(f"{path} is no such IDX file, or torn; download it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape.astype(int))


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


DOWNLOAD = Download(
    name="fashion_mnist_goods",
    version="1.0.0",
    description=__doc__,
    columns=("level1", "level2", "level3"),
    levels=("level1", "level2", "level3"),
    texts=(),
    read=read,
    told={
        "homepage": "https://github.com/zalandoresearch/fashion-mnist",
        "licence": "MIT",
        "splits": "official",
    },
)
