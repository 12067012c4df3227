"""The built-in catalogue: drawn products with titles, pictures and HS 2022 codes.

`facts` holds the law p(y, facts, observations) and its exact Bayes accuracy; `titles`
and `drawing` turn observed facts into words and pictures. Here they become the listings
of several shops, some products listed twice, some without a title or a picture. Product
i depends on the seed and on i alone: a larger catalogue begins with the smaller one.
"""

import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hsjax.data.drawing import COLOURS, draw_picture, encode_png
from hsjax.data.facts import LEAVES, LEVEL_DIGITS, draw_facts
from hsjax.data.facts import bayes_accuracy as bayes_accuracy  # for callers
from hsjax.data.pixels import decode_image
from hsjax.data.records import CatalogueError, Record
from hsjax.data.titles import BRANDS, pick, shop_styles, write_title

# Nodes of the small tree, after the HS 2022 nomenclature, shortened.
NAMES = {
    "39": "Plastics and articles thereof",
    "3924": "Tableware and household articles of plastics",
    "392410": "Tableware and kitchenware of plastics",
    "42": "Articles of leather; travel goods and handbags",
    "4202": "Trunks, suitcases, handbags, wallets and similar containers",
    "420211": "Suitcases and briefcases, outer surface of leather",
    "420212": "Suitcases and briefcases, outer surface of plastics or textiles",
    "420221": "Handbags, outer surface of leather",
    "420222": "Handbags, outer surface of plastics or textiles",
    "420231": "Wallets and pocket articles, outer surface of leather",
    "420232": "Wallets and pocket articles, outer surface of plastics or textiles",
    "61": "Apparel and clothing accessories, knitted or crocheted",
    "6103": "Men's suits, jackets and trousers, knitted",
    "610342": "Men's trousers, knitted, of cotton",
    "610343": "Men's trousers, knitted, of synthetic fibres",
    "6104": "Women's suits, dresses and skirts, knitted",
    "610442": "Dresses, knitted, of cotton",
    "610443": "Dresses, knitted, of synthetic fibres",
    "6105": "Men's shirts, knitted",
    "610510": "Men's shirts, knitted, of cotton",
    "610520": "Men's shirts, knitted, of man-made fibres",
    "6109": "T-shirts, singlets and other vests, knitted",
    "610910": "T-shirts and singlets, knitted, of cotton",
    "610990": "T-shirts and singlets, knitted, of other textiles",
    "62": "Apparel and clothing accessories, not knitted",
    "6203": "Men's suits, jackets and trousers, woven",
    "620342": "Men's trousers, woven, of cotton",
    "620343": "Men's trousers, woven, of synthetic fibres",
    "6204": "Women's suits, dresses and skirts, woven",
    "620442": "Dresses, woven, of cotton",
    "620443": "Dresses, woven, of synthetic fibres",
    "6205": "Men's shirts, woven",
    "620520": "Men's shirts, woven, of cotton",
    "620530": "Men's shirts, woven, of man-made fibres",
    "64": "Footwear",
    "6402": "Other footwear with uppers of rubber or plastics",
    "640291": "Footwear, uppers of rubber or plastics, covering the ankle",
    "640299": "Footwear, uppers of rubber or plastics, below the ankle",
    "6403": "Footwear with uppers of leather",
    "640391": "Footwear, uppers of leather, covering the ankle",
    "640399": "Footwear, uppers of leather, below the ankle",
    "6404": "Footwear with uppers of textile materials",
    "640419": "Footwear, uppers of textiles, not for sports",
    "69": "Ceramic products",
    "6911": "Tableware of porcelain or china",
    "691110": "Tableware and kitchenware of porcelain or china",
    "6912": "Ceramic tableware and household articles other than of porcelain",
    "691200": "Ceramic tableware other than of porcelain",
    "70": "Glass and glassware",
    "7013": "Glassware for table, kitchen and indoor use",
    "701337": "Drinking glasses other than stemware",
    "701349": "Glassware for table or kitchen use",
    "95": "Toys, games and sports requisites",
    "9503": "Toys, scale models and puzzles",
    "950300": "Dolls, toy animals, toy vehicles and other toys",
    "9506": "Sports and outdoor game equipment",
    "950662": "Inflatable balls",
}
PLAIN_LIGHT = (1.0, 1.0, 1.0)
SAME_PICTURE = 0.5  # share of second listings that copy the picture of the first


class Listing(NamedTuple):
    """A product as one shop offers it, with what only the generator knows."""

    product: int
    id: str
    title: str  # '' = missing
    brand: str
    shop: str
    image: bytes  # PNG, b'' = missing
    leaf: int  # truth: index into facts.LEAVES
    observed: dict[str, str]  # fact -> value in title or picture, '' = left out
    colour: str

    @property
    def code(self) -> str:
        return LEAVES[self.leaf].code


def names() -> dict[str, str]:
    """Names of all nodes of the tree: chapters, headings and subheadings by code."""
    return dict(NAMES)


def _stream(seed: int, product: int, part: int) -> np.random.Generator:
    """Open the random stream of one part of one product, whatever else is drawn."""
    key = np.array([seed, product], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, part]))


def _product(number: int, *, synthetic) -> Iterator[Listing]:
    """Yield a product's one or two listings; facts, brand and colour are shared."""
    rng = _stream(synthetic.seed, number, 0)
    variant, observed = draw_facts(rng)
    brand, colour = pick(rng, BRANDS), pick(rng, tuple(COLOURS))
    styles = shop_styles(synthetic.shops, synthetic.style, synthetic.seed)
    shops = [tuple(styles)[i] for i in rng.permutation(len(styles))]
    shops *= 2 if len(shops) == 1 else 1
    same_picture = rng.random() < SAME_PICTURE
    count = 2 if rng.random() < synthetic.duplicates else 1
    for copy in range(count):
        words = _stream(synthetic.seed, number, 1 + copy)
        fate = words.random()  # one number for both: never are both missing
        no_title = fate < synthetic.missing_text
        no_image = (
            not no_title and fate < synthetic.missing_text + synthetic.missing_image
        )
        title = write_title(
            words,
            observed=observed,
            brand=brand,
            style=styles[shops[copy]],
            colour=colour,
        )
        view = 0 if same_picture else copy
        light = styles[shops[view]].light
        yield Listing(
            product=number,
            id=f"P{number:06d}" + ("-2" if copy else ""),
            title="" if no_title else title,
            brand=brand,
            shop=shops[copy],
            image=b""
            if no_image
            else _picture(synthetic.seed, number, view, observed, colour, light),
            leaf=variant.leaf,
            observed=observed,
            colour=colour,
        )


def _picture(
    seed: int, number: int, view: int, observed: dict, colour: str, light
) -> bytes:
    pixels = draw_picture(
        _stream(seed, number, 3 + view),
        shape=observed["shape"],
        surface=observed["surface"],
        colour=colour,
    )
    if light != PLAIN_LIGHT:
        pixels = np.clip(pixels * np.array(light), 0, 255).astype(np.uint8)
    return encode_png(pixels)


def listings(config_data) -> Iterator[Listing]:
    """Yield the configured catalogue in order of products, at most `rows` listings."""
    synthetic = config_data.synthetic
    for name in ("missing_text", "missing_image", "duplicates"):
        if not 0 <= synthetic[name] <= 1:
            raise CatalogueError(
                f"data.synthetic.{name} is {synthetic[name]}: set a share in 0..1"
            )
    if synthetic.missing_text + synthetic.missing_image > 1:
        raise CatalogueError(
            "data.synthetic.missing_text + missing_image is above 1: a product never "
            "lacks both, lower one of them"
        )
    every = (
        x for i in range(synthetic.products) for x in _product(i, synthetic=synthetic)
    )
    return islice(every, config_data.rows)


def _decoded(image: bytes, config_image) -> np.ndarray | bytes | None:
    if not image or not config_image.cache:
        return image or None
    return decode_image(
        image, resize=tuple(config_image.resize), max_pixels=config_image.max_pixels
    )


def make_records(config_data, *, pictures: bool = True) -> list[Record]:
    """Draw the catalogue as records, pictures decoded if `data.image.cache`.

    Without `pictures` they are hashed and not kept.
    """
    return [
        Record(
            row=row,
            id=item.id,
            texts={"title": item.title, "brand": item.brand},
            image=_decoded(item.image, config_data.image) if pictures else None,
            image_key=hashlib.sha1(item.image).hexdigest() if item.image else "",
            path=tuple(item.code[:digits] for digits in LEVEL_DIGITS),
            complete=True,
            group=str(item.product),
            platform=item.shop,
            date="",
            split="",
            extra={},
        )
        for row, item in enumerate(listings(config_data), start=1)
    ]


def write_catalogue(path, config_data) -> None:
    """Write the same products to a Parquet file such as any shop exports.

    Columns: id, title, brand, hs_code, shop, group (strings) and image (PNG bytes); a
    missing title or picture is null.
    """
    items = list(listings(config_data))
    texts = {
        "id": [item.id for item in items],
        "title": [item.title or None for item in items],
        "brand": [item.brand for item in items],
        "hs_code": [item.code for item in items],
        "shop": [item.shop for item in items],
        "group": [str(item.product) for item in items],
    }
    columns = {name: pa.array(values, pa.string()) for name, values in texts.items()}
    columns["image"] = pa.array([item.image or None for item in items], pa.binary())
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
