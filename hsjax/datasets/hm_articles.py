"""Articles of H&M (Kaggle competition), 105,542 products.

Where: https://www.kaggle.com/competitions/h-and-m-personalized-fashion-recommendations,
after its rules were accepted. Of the download only `articles.csv` and `images/` are
read: `images/010/0108775015.jpg`, the folder named by the first three digits.

Licence: the competition's rules, non-commercial research; the photographs are H&M's.

Label: product_group_name > garment_group_name > product_type_name. Text: prod_name and
detail_desc. Articles of one product_code are one product in many colours.
"""

from pathlib import Path

from hsjax.data.quarantine import Quarantine
from hsjax.datasets.goods import Download, Rows, listed_products

_COLUMNS = {
    "title": "prod_name",
    "level1": "product_group_name",
    "level2": "garment_group_name",
    "level3": "product_type_name",
    "product_code": "product_code",
    "colour": "colour_group_name",
    "pattern": "graphical_appearance_name",
    "department": "index_name",
    "description": "detail_desc",
}


def read(folder: Path, quarantine: Quarantine) -> Rows:
    """Rows of the unpacked download; CatalogueError where it is another."""
    return listed_products(
        folder,
        quarantine,
        file="articles.csv",
        id="article_id",
        columns=_COLUMNS,
        picture=lambda id: f"{id[:3]}/{id}.jpg",
        of="the H&M competition",
    )


DOWNLOAD = Download(
    name="hm_articles",
    version="1.0.0",
    description=__doc__,
    columns=tuple(_COLUMNS),
    levels=("level1", "level2", "level3"),
    texts=("title", "description"),
    group="product_code",
    read=read,
    told={
        "homepage": "https://www.kaggle.com/competitions/h-and-m-personalized-fashion-recommendations",
        "licence": "the rules of the competition: non-commercial research",
    },
)
