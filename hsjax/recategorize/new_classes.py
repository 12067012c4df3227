"""What new classes hold, beside a column that was hidden while they were found."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa

from hsjax.atomic import write_atomically
from hsjax.data.columns import missing_column
from hsjax.data.fields import as_text
from hsjax.data.parquet import parquet_schema
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.sources import column_names, read_rows
from hsjax.evaluation.clusters import cluster_purity, cluster_scores
from hsjax.evaluation.markdown import table
from hsjax.evaluation.predictions import read_predictions
from hsjax.recategorize.report import scores_table
from hsjax.taxonomy import Taxonomy


def score_new_classes(
    predictions: Path, old: Path, source: Path, column: str, output: Path, id: str = ""
) -> str:
    """Writes new_classes.md and .json, and returns the Markdown.

    A product is in the first node of its answer that the old tree has not; what is
    answered by old nodes alone is in none. Purity, NMI and the rest: see
    `evaluation.clusters`. A new class stands for the value that is commonest in it. Of
    the products of these values `coverage` is the share in any new class, and `recall`
    in one that stands for their own: of all products, most of which are of other
    classes, both would say nothing.

    Args:
      id: column of the catalogue's ids, '' = whichever has those of the answers.

    Raises:
      CatalogueError: no such column, rows that are of other products, or no new class.
    """
    found = read_predictions(predictions / "predictions.parquet")
    classes = first_new(found.decoded[found.main], Taxonomy.load(old))
    if not (classes != "").any():
        raise _nothing_new(predictions, old)
    truth = read_column(source, column, found.row, found.id, id=id)
    names, clusters = np.unique(classes, return_inverse=True)
    clusters = np.where(classes == "", -1, clusters)
    each = cluster_purity(truth, clusters)
    shares = found_again(truth, clusters, each)
    scores = cluster_scores(truth, clusters) | shares
    text = f"# New classes beside {column}\n\n"
    text += _classes_table(names, each, truth, column) + "\n\n"
    text += scores_table(scores) + "\n\n" + _told(shares) + "\n"
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(output / "new_classes.md", text)
    known = {k: v if v == v else None for k, v in scores.items()}
    document = json.dumps({"metrics": known}, indent=1) + "\n"
    write_atomically(output / "new_classes.json", document)
    return text


def _classes_table(names: np.ndarray, each, truth: np.ndarray, column: str) -> str:

    counts = Counter(truth.tolist())
    rows = [
        [
            names[c],
            int(n),
            f"{100 * p:.1f}",
            label,
            f"{100 * p * n / counts[label]:.1f}",
        ]
        for c, n, p, label in zip(*each, strict=True)
    ]
    head = ["new class", "products", "purity, %", f"commonest {column}"]
    return table([*head, "of its products here, %"], rows)


def _nothing_new(predictions: Path, old: Path):

    return CatalogueError(
        f"every answer in {predictions} is a node of {old}: give the tree without the"
        " new classes"
    )


def found_again(
    truth: np.ndarray, clusters: np.ndarray, each
) -> dict[str, float | int]:
    """`coverage` and `recall`, and of how many products.

    Args:
      truth: (N,) values, '' = unknown; clusters: (N,) new class, -1 = none.
      each: of `cluster_purity`.
    """
    label_of = dict(zip(each.cluster.tolist(), each.label.tolist(), strict=True))
    own = np.array([label_of.get(c, "") for c in clusters.tolist()], truth.dtype)
    asked = np.isin(truth, each.label)
    inside, right = clusters[asked] >= 0, own[asked] == truth[asked]
    none = float("nan")
    return {
        "products_of_new": int(asked.sum()),
        "coverage": float(inside.mean()) if asked.any() else none,
        "recall": float(right.mean()) if asked.any() else none,
    }


def _told(shares: dict) -> str:
    coverage, recall = (100 * shares[name] for name in ("coverage", "recall"))
    return (
        f"Of the {shares['products_of_new']:,} products whose value is the commonest of"
        f" a new class, {coverage:.1f} % are in a new class (above: in a cluster), and"
        f" {recall:.1f} % in one of their own value."
    )


def first_new(codes: np.ndarray, tree) -> np.ndarray:
    """(N,) code of the first node of each path that a tree has not, '' = none."""
    found = np.full(len(codes), "", dtype=codes.dtype)
    for level in reversed(range(codes.shape[1])):
        known = set(tree.codes[level].tolist()) if level < tree.num_levels else set()
        here = codes[:, level]
        new = np.array([c != "" and c not in known for c in here.tolist()], bool)
        found = np.where(new, here, found)
    return found


def read_column(
    source: Path, column: str, rows: np.ndarray, ids: np.ndarray, *, id: str = ""
) -> np.ndarray:
    """Texts of a column of these 1-based rows.

    Args:
      ids: of the products that have to be there.
      id: column of ids, '' = any that has them all; without one ids are row numbers.

    Raises:
      CatalogueError: there is no such column or row, or another product is there.
    """
    names = column_names(source, wanted=(column, *filter(None, [id])))
    for name, flag in ((column, "--column"), (id, "--id")):
        if name and name not in names:
            raise missing_column(source, name, flag, names)
    asked = dict(zip(rows.tolist(), map(str, ids), strict=True))
    same, texts, lost = {id} if id else _text_columns(source, names), {}, 0
    for row, values in read_rows(source, Quarantine(), columns={column, *same}):
        if row in asked:
            texts[row], before = as_text(values.get(column)), same
            same = {n for n in same if _is_id(as_text(values.get(n)), asked[row])}
            lost = row if before and not same else lost
    ours = "give the catalogue that was answered"
    if gone := [row for row in asked if row not in texts]:
        raise CatalogueError(f"{source} has no row {gone[0]}: {ours}")
    if not same and any(str(row) != id for row, id in asked.items()):
        first, product = (lost, asked[lost]) if lost else next(iter(asked.items()))
        held = f"the column {id!r} lacks" if id else "no column of ids has"
        raise CatalogueError(
            f"{source}, row {first}: {held} {product!r}, which was answered there:"
            f" {ours}" + ("" if id else ", or name its column in --id")
        )
    return np.array([texts[row] for row in rows.tolist()], str)


def _text_columns(source: Path, names: list[str]) -> set[str]:
    """Those that may hold ids: pictures, which are large, are not read."""
    if source.suffix != ".parquet":
        return set(names)
    kinds = parquet_schema(source)
    plain = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer)
    plain += (pa.types.is_dictionary, pa.types.is_floating)
    return {name for name in names if any(is_(kinds.field(name).type) for is_ in plain)}


def _is_id(text: str, id: str) -> bool:
    """Repeated ids were numbered: see `Repeats.unique`."""
    return id in (text, f"{text}#{id.rpartition('#')[2]}")
