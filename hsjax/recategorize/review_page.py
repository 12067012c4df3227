"""Proposed sub-categories as one HTML file in which a person decides about them.

The file holds all that it shows: it is read from a disk or from a mail, asks nothing
of a network, and its own policy forbids the browser to. The decisions come back as
`decisions.json`, see `hsjax.recategorize.decisions`.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from hsjax.atomic import write_atomically
from hsjax.data.thumbnails import thumbnails

PAGES = Path(__file__).with_name("pages")
MOST_POINTS = 5000  # of the map
GRID = 1000  # of a coordinate: finer than a screen
LONGEST, LONGEST_POINT = 300, 120  # characters of a title, of a point's title


class Product(NamedTuple):
    """One product as a reviewer sees it.

    Attributes:
      row: of the catalogue; the same row is the same product wherever it stands.
      id: shown where there is no title.
      title: may be empty.
      image: (H, W, 3) uint8, or None.
      level_label: its label today, may be empty.
    """

    row: int
    id: str
    title: str
    image: np.ndarray | None = None
    level_label: str = ""


class Cluster(NamedTuple):
    """A proposed sub-category.

    Attributes:
      key: of the proposal, such as "1" or "1.3".
      parent: key of the cluster that it is a part of, '' = directly below the branch.
      name: proposed; the reviewer may give another.
      size: products.
      share: of the branch's products, 0 to 1.
      stability: how well it comes back in the same map; silhouette: None = unmeasured.
      words: typical of its titles, the most typical first.
      label_texts: nearest to it, the nearest first.
      nearest, random, farthest: products by their distance to the centre.
      purity: where the hidden truth is known, the share of its commonest class;
        true_label: this class; purity_chance: the share that as many products drawn
        from what was divided would have of theirs.
    """

    key: str
    parent: str
    name: str
    size: int
    share: float
    stability: float | None = None
    silhouette: float | None = None
    words: Sequence[str] = ()
    label_texts: Sequence[str] = ()
    nearest: Sequence[Product] = ()
    random: Sequence[Product] = ()
    farthest: Sequence[Product] = ()
    purity: float | None = None
    true_label: str = ""
    purity_chance: float | None = None


class Review(NamedTuple):
    """All that the page shows.

    Attributes:
      branch: of the tree that is divided, such as "Footwear > Shoes".
      settings: how the proposals were made, in the order shown.
      points: (N, 2) places on the map; N = 0 leaves the map out.
      point_cluster: (N,) key of the deepest cluster of each, '' = of none.
      point_title: (N,) titles, may be empty.
      left_out: products that are in no cluster.
      left_out_file: where they are listed, '' = nowhere.
      digest: of the proposals; decisions about others are refused.
      separator: of the tree's paths, which no name may contain.
    """

    title: str
    branch: str
    settings: Mapping[str, str]
    points: np.ndarray
    point_cluster: Sequence[str]
    point_title: Sequence[str]
    clusters: Sequence[Cluster]
    left_out: int
    left_out_file: str
    digest: str
    separator: str = " > "


def write_review(review: Review, path: Path | str) -> None:
    """The page as one file: the same review gives the same bytes.

    Of more than 5,000 points a sample is drawn, each cluster by its share. Pictures
    become JPEGs of at most 96 pixels, smaller ones where many do not fit in 5 MB.

    Raises:
      ValueError: a key twice, a cluster or a point of an unknown key, arrays of
        different lengths, points that are not finite.
    """
    _check(review)
    parts = {
        "STYLE": _page("review.css"),
        "SCRIPT": _page("review.js"),
        "MAP": _page("map.js"),
        "DATA": _json(_content(review)),
    }
    # in one pass, so that what a catalogue says is never taken for a placeholder
    text = re.sub(r"@([A-Z]+)@", lambda m: parts[m[1]], _page("review.html"))
    write_atomically(path, text)


def _page(name: str) -> str:
    return (PAGES / name).read_text(encoding="utf-8")


def _json(content: object) -> str:
    """JSON inside <script>: without `<` neither an end tag nor a comment begins.

    Half characters, which a title that was cut may hold, have no UTF-8.
    """
    text = json.dumps(
        content, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    )
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace("<", "\\u003c")


def _check(review: Review) -> None:
    keys = [c.key for c in review.clusters]
    for key in keys:
        if not key or keys.count(key) > 1:
            raise ValueError(f"the key {key!r} of a cluster is empty or stands twice")
    for i, c in enumerate(review.clusters):
        if c.parent and c.parent not in keys[:i]:
            raise ValueError(f"{c.parent!r}, the parent of {c.key!r}, is not before it")
    lengths = {len(review.points), len(review.point_cluster), len(review.point_title)}
    if len(lengths) > 1:
        raise ValueError(
            f"points, their clusters and titles differ in number {lengths}"
        )
    if unknown := set(review.point_cluster) - {"", *keys}:
        raise ValueError(f"points of unknown clusters: {sorted(unknown)[:5]}")
    if not np.isfinite(review.points).all():
        raise ValueError("points of the map are not finite")


def _content(review: Review) -> dict:
    shown = [p for c in review.clusters for p in (*c.nearest, *c.random, *c.farthest)]
    products = {p.row: p for p in shown}
    images = {row: p.image for row, p in products.items() if p.image is not None}
    pictures = thumbnails(images)
    return {
        "title": review.title,
        "branch": review.branch,
        "settings": [[str(k), str(v)] for k, v in review.settings.items()],
        "left_out": int(review.left_out),
        "left_out_file": review.left_out_file,
        "digest": review.digest,
        "separator": review.separator,
        "map": _map(review),
        "clusters": [_cluster(c) for c in review.clusters],
        "products": {
            row: {
                "id": p.id,
                "title": _short(p.title, LONGEST),
                "label": p.level_label,
                "image": pictures.get(row, ""),
            }
            for row, p in products.items()
        },
    }


def _cluster(c: Cluster) -> dict:
    numbers = ("share", "stability", "silhouette", "purity", "purity_chance")
    kinds = ("nearest", "random", "farthest")
    return {
        "key": c.key,
        "parent": c.parent,
        "name": c.name,
        "size": int(c.size),
        "words": [*c.words],
        "labels": [*c.label_texts],
        "true_label": c.true_label,
        **{name: _number(getattr(c, name)) for name in numbers},
        **{kind: [int(p.row) for p in getattr(c, kind)] for kind in kinds},
    }


def _number(x: float | None) -> float | None:
    return None if x is None or not math.isfinite(x) else round(float(x), 4)


def _map(review: Review) -> dict:
    """Places as whole numbers from 0 to `GRID`, both axes in one unit."""
    rows = sampled_points(review.point_cluster)
    points = np.asarray(review.points, np.float64).reshape(-1, 2)[rows]
    if len(points):
        low, span = points.min(axis=0), np.ptp(points, axis=0).max()
        points = np.rint((points - low) / (span or 1.0) * GRID)
    index = {c.key: i for i, c in enumerate(review.clusters)}
    return {
        "total": len(review.points),
        "x": points[:, 0].astype(int).tolist(),
        "y": points[:, 1].astype(int).tolist(),
        "cluster": [index.get(review.point_cluster[i], -1) for i in rows],
        "title": [_short(review.point_title[i], LONGEST_POINT) for i in rows],
    }


def sampled_points(clusters: Sequence[str]) -> Int[np.ndarray, "S"]:
    """At most 5,000 rows in ascending order, of each cluster by its share."""
    if len(clusters) <= MOST_POINTS:
        return np.arange(len(clusters))
    mixed = np.random.default_rng(0).permutation(len(clusters))
    mixed = mixed[np.argsort(np.asarray(clusters)[mixed], kind="stable")]
    return np.sort(mixed[np.linspace(0, len(mixed) - 1, MOST_POINTS).astype(int)])


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
