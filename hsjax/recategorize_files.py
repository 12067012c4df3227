"""What a discovery leaves behind: clusters of all products, and the review pages."""

import csv
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hsjax.atomic import finished
from hsjax.data.shown_pictures import shown_pictures
from hsjax.evaluation.clusters import cluster_purity
from hsjax.proposals import Examples, examples_of, rows_of
from hsjax.review_page import Cluster, Product, Review, write_review

CLUSTERS, LEFT_OUT = "clusters.parquet", "left_out.csv"
COLUMNS = ("row", "id", "node", "cluster", "spread", "score", "truth")


class Found:
    """A node that was divided.

    Attributes:
      code: of the node; level: from 0.
      rows: (N,) places of its products in the catalogue; records: these.
      cascade, proposals: what was found.
      titles: (N,); truth: (N,) hidden classes, '' = none.
      vectors: `vectors(rows) -> (B, D)`.
    """

    def __init__(self, code, level, rows, records, cascade, proposals, titles, truth):
        self.code, self.level, self.rows, self.records = code, level, rows, records
        self.cascade, self.proposals = cascade, proposals
        self.titles, self.truth = titles, truth

    @property
    def digest(self) -> str:
        """Hash of the proposals and of the products in them."""
        document = [p._asdict() for p in self.proposals], self.cascade.keys.tolist()
        text = json.dumps([self.code, *document], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def page(self) -> str:
        """Name of its review page, another for each node whatever its letters."""
        digest = hashlib.sha256(f"{self.level} {self.code}".encode()).hexdigest()[:6]
        letters = re.sub(r"\W+", "_", self.code).strip("_")
        return f"review_{letters}_{digest}.html"


def write_clusters(workdir: Path, found: Sequence[Found]) -> None:
    """clusters.parquet, a row for each product, and left_out.csv of those in none."""
    parts = []
    for f in found:
        score = np.full(len(f.rows), np.nan)
        score[f.cascade.rows] = f.cascade.score
        parts.append(
            {
                "row": [r.row for r in f.records],
                "id": [r.id for r in f.records],
                "node": [f.code] * len(f.rows),
                "cluster": f.cascade.keys.tolist(),
                "spread": f.cascade.spread.tolist(),
                "score": score.tolist(),
                "truth": f.truth.tolist(),
            }
        )
    columns = {name: sum((p[name] for p in parts), []) for name in COLUMNS}
    with finished(workdir / CLUSTERS) as partial:
        pq.write_table(pa.table(columns), partial)
    with (
        finished(workdir / LEFT_OUT) as partial,
        partial.open("w", encoding="utf-8", newline="") as handle,
    ):
        writer = csv.writer(handle)
        writer.writerow(("row", "id", "node", "reason"))
        for f in found:
            for place in np.flatnonzero(f.cascade.keys == "").tolist():
                record = f.records[place]
                writer.writerow([record.row, record.id, f.code, _reason(f, place)])


def _reason(f: Found, place: int) -> str:
    """Why a product is in no cluster."""
    if not f.cascade.nodes:
        return "the node was not divided"
    sampled = np.flatnonzero(f.cascade.rows == place)
    if not len(sampled):
        return "no vector, or its neighbours are in no cluster"
    if not f.cascade.kept[sampled[0]]:
        return f"far from its group: {f.cascade.score[sampled[0]]:.3f}"
    return "its cluster is too small"


def write_page(config, workdir: Path, f: Found, vectors, settings: Mapping) -> None:
    """The review page of a node."""
    c = config.recategorize
    chosen = {
        p.key: _examples(f, vectors, p.key, c.shown, config.seed) for p in f.proposals
    }
    places = sorted({int(i) for e in chosen.values() for part in e for i in part})
    pictures = shown_pictures(config.data, [f.records[i] for i in places])
    of = {i: _product(f, i, pictures) for i in places}
    purities = _purities(f)
    clusters = [
        Cluster(
            key=p.key,
            parent=p.parent,
            name=p.name,
            size=p.size,
            share=p.share,
            stability=_known(p.stability),
            silhouette=_known(p.silhouette),
            words=p.words,
            label_texts=p.label_texts,
            purity=purities.get(p.key),
            **{k: [of[i] for i in e] for k, e in chosen[p.key]._asdict().items()},
        )
        for p in f.proposals
    ]
    sampled = f.cascade.rows[f.cascade.kept]
    review = Review(
        title=f"New sub-categories of {f.code}",
        branch=f.code,
        settings=settings,
        points=f.cascade.points[f.cascade.kept],
        point_cluster=f.cascade.keys[sampled].tolist(),
        point_title=[f.titles[i] for i in sampled],
        clusters=clusters,
        left_out=int((f.cascade.keys == "").sum()),
        left_out_file=LEFT_OUT,
        digest=f.digest,
        separator=config.data.columns.separator,
    )
    write_review(review, workdir / f.page)


def _examples(f: Found, vectors, key: str, count: int, seed: int) -> Examples:
    """Of a large cluster a sample is looked at."""
    rows = rows_of(f.cascade.keys, key)
    rng = np.random.default_rng(seed)
    most = min(len(rows), 2000)
    rows = np.sort(rng.choice(rows, most, replace=False))
    chosen = examples_of(vectors(rows), np.arange(most), count=count, seed=seed)
    return Examples(*(rows[part] for part in chosen))


def _product(f: Found, i: int, pictures: Mapping[int, np.ndarray]) -> Product:
    record = f.records[i]
    return Product(record.row, record.id, f.titles[i], pictures.get(record.row), f.code)


def _purities(f: Found) -> dict[str, float]:
    """Of each cluster, where hidden classes are known."""
    found = {}
    for p in f.proposals if any(f.truth) else ():
        rows = rows_of(f.cascade.keys, p.key)
        one = cluster_purity(f.truth[rows], np.zeros(len(rows), int))
        if len(one.purity):
            found[p.key] = float(one.purity[0])
    return found


def _known(value: float) -> float | None:
    return value if value == value else None


def read_clusters(workdir: Path) -> Mapping[str, list]:
    """The columns of clusters.parquet."""
    return pq.read_table(workdir / CLUSTERS).to_pydict()
