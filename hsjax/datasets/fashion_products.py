"""Fashion Product Images (Kaggle), 44,446 products of Myntra.

Where: https://www.kaggle.com/datasets/paramaggarwal/fashion-product-images-dataset, or
the same with pictures of 60 x 80 pixels, fashion-product-images-small. Unpacked, the
folder holds `styles.csv` and `images/ID.jpg`.

Licence: Kaggle states MIT; the photographs and names are the shop's, so check before
any use but research.

Label: masterCategory > subCategory > articleType, as the shop says; not quite a strict
tree. Text: productDisplayName. Rows of one name are one product in many colours, which
the split keeps together by itself.
"""

from pathlib import Path

from hsjax.data.quarantine import Quarantine
from hsjax.datasets.goods import Download, Rows, listed_products

_COLUMNS = {
    "title": "productDisplayName",
    "level1": "masterCategory",
    "level2": "subCategory",
    "level3": "articleType",
    "gender": "gender",
    "colour": "baseColour",
    "season": "season",
    "year": "year",
    "usage": "usage",
}


def read(folder: Path, quarantine: Quarantine) -> Rows:
    """Rows of the unpacked download; CatalogueError where it is another."""
    return listed_products(
        folder,
        quarantine,
        file="styles.csv",
        id="id",
        columns=_COLUMNS,
        picture=lambda id: f"{id}.jpg",
        of="Fashion Product Images",
    )


DOWNLOAD = Download(
    name="fashion_products",
    version="1.0.0",
    description=__doc__,
    columns=tuple(_COLUMNS),
    levels=("level1", "level2", "level3"),
    texts=("title",),
    read=read,
    told={
        "homepage": "https://www.kaggle.com/datasets/paramaggarwal/fashion-product-images-dataset",
        "licence": "MIT, as Kaggle states; the pictures are the shop's",
    },
)
