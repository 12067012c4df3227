"""What a discovery leaves behind: clusters of all products, and the review pages."""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hsjax.atomic import finished, write_atomically
from hsjax.data.cells import write_csv
from hsjax.data.records import Record
from hsjax.data.shown_pictures import shown_pictures
from hsjax.evaluation.clusters import cluster_purity, drawn_purity
from hsjax.features.cluster_cascade import Cascade
from hsjax.recategorize.proposals import (
    Examples,
    Proposal,
    as_json,
    examples_of,
    rows_of,
)
from hsjax.recategorize.review_page import Cluster, Product, Review, write_review

CLUSTERS, LEFT_OUT = "clusters.parquet", "left_out.csv"
COLUMNS = ("row", "id", "node", "cluster", "spread", "score", "truth")


@dataclass(frozen=True, kw_only=True)
class Found:
    """A node, and what was found in it.

    Attributes:
      code: of the node; level: from 0.
      rows: (N,) places of its products in the catalogue; records: these.
      titles: (N,); truth: (N,) hidden classes, '' = none; told: (N,) those that
        baselines of category discovery see.
      cascade: clusters; without one where nothing was divided, and `reason` says why.
      proposals: the same with names.
    """

    code: str
    level: int
    rows: np.ndarray
    records: Sequence[Record]
    titles: Sequence[str]
    truth: np.ndarray
    told: np.ndarray
    cascade: Cascade
    proposals: Sequence[Proposal] = ()
    reason: str = ""

    @property
    def left_out(self) -> int:
        """Products that are in no cluster."""
        return int((self.cascade.keys == "").sum())

    @property
    def digest(self) -> str:
        """Hash of the proposals and of the products in them."""
        document = [*map(as_json, self.proposals)], self.cascade.keys.tolist()
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
    parts = [
        {
            "row": [r.row for r in f.records],
            "id": [r.id for r in f.records],
            "node": [f.code] * len(f.rows),
            "cluster": f.cascade.keys.tolist(),
            "spread": f.cascade.spread.tolist(),
            "score": f.cascade.score.tolist(),
            "truth": f.truth.tolist(),
        }
        for f in found
    ]
    columns = {name: sum((p[name] for p in parts), []) for name in COLUMNS}
    with finished(workdir / CLUSTERS) as partial:
        pq.write_table(pa.table(columns), partial)
    write_csv(workdir / LEFT_OUT, ("row", "id", "node", "reason"), _left_out(found))


def _left_out(found: Sequence[Found]) -> Iterator[tuple]:
    for f in found:
        for place in np.flatnonzero(f.cascade.keys == "").tolist():
            record = f.records[place]
            yield record.row, record.id, f.code, _reason(f, place)


def _reason(f: Found, place: int) -> str:
    """Why a product is in no cluster."""
    kept, score = f.cascade.kept[place], float(f.cascade.score[place])
    if f.reason:
        return f.reason
    if kept:
        return "its cluster is too small, or most of its neighbours are in none"
    return "no vector" if math.isnan(score) else f"far from its group: {score:.3f}"


def write_page(config, workdir: Path, f: Found, vectors, settings: Mapping) -> None:
    """The review page of a node."""
    c = config.recategorize
    chosen = {
        p.key: _examples(f, vectors, p.key, c.shown, config.seed) for p in f.proposals
    }
    places = sorted({int(i) for e in chosen.values() for part in e for i in part})
    pictures = shown_pictures(config.data, [f.records[i] for i in places])
    of = {i: _product(f, i, pictures) for i in places}
    purities = purities_of(f, config.data.columns.separator)
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
            **purities.get(p.key, {}),
            **{k: [of[i] for i in e] for k, e in chosen[p.key]._asdict().items()},
        )
        for p in f.proposals
    ]
    sampled = f.cascade.rows
    review = Review(
        title=f"New sub-categories of {f.code}",
        branch=f.code,
        settings=settings,
        points=f.cascade.points,
        point_cluster=f.cascade.keys[sampled].tolist(),
        point_title=[f.titles[i] for i in sampled],
        clusters=clusters,
        left_out=f.left_out,
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
    # all have the label of the page
    return Product(record.row, record.id, f.titles[i], pictures.get(record.row))


def purities_of(f: Found, separator: str) -> dict[str, dict[str, float | str]]:
    """Of each cluster its commonest hidden class, the share of it, and what that would
    be by chance: of as many products drawn from what was divided. {} = none is known.

    Args:
      separator: of path codes, whose last part is the name.
    """
    found = {}
    for p in f.proposals:
        whole = f.truth[rows_of(f.cascade.keys, p.parent)] if p.parent else f.truth
        rows = rows_of(f.cascade.keys, p.key)
        one = cluster_purity(f.truth[rows], np.zeros(len(rows), int))
        if len(one.purity):
            found[p.key] = {
                "purity": float(one.purity[0]),
                "true_label": str(one.label[0]).split(separator)[-1],
                "purity_chance": drawn_purity(whole, int(one.size[0])),
            }
    return found


def _known(value: float) -> float | None:
    return value if value == value else None


def write_proposals(workdir: Path, f: Found) -> None:
    """The proposals of a node beside its page, as JSON."""
    document = {"digest": f.digest, "node": f.code, "level": f.level + 1}
    document |= {"proposals": [*map(as_json, f.proposals)]}
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    path = workdir / f.page.replace("review_", "proposals_")
    write_atomically(path.with_suffix(".json"), text)


def read_clusters(workdir: Path) -> Mapping[str, list]:
    """The columns of clusters.parquet."""
    return pq.read_table(workdir / CLUSTERS).to_pydict()
