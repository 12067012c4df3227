"""What new classes hold, beside a column that was hidden while they were found.

python -m hsjax.new_classes --predictions=DIR --old=old_taxonomy.json \
    --input=catalogue.parquet --column=level3 --output=DIR
"""

import json
import sys
from pathlib import Path

import numpy as np
from absl import app, flags

from hsjax.main import show_log

PREDICTIONS = flags.DEFINE_string(
    "predictions", None, "Folder of a run or of hsjax.evaluate.", required=True
)
OLD = flags.DEFINE_string(
    "old", None, "taxonomy.json of the tree without the new classes.", required=True
)
INPUT = flags.DEFINE_string(
    "input", None, "Catalogue of the answered rows.", required=True
)
COLUMN = flags.DEFINE_string(
    "column", None, "Its column that says what products really are.", required=True
)
OUTPUT = flags.DEFINE_string("output", None, "Folder of the table.", required=True)


def score_new_classes(
    predictions: Path, old: Path, source: Path, column: str, output: Path
) -> str:
    """Writes new_classes.md and .json, and returns the Markdown.

    A product is in the first node of its answer that the old tree has not; what is
    answered by old nodes alone is in none. Purity, NMI and the rest: see
    `evaluation.clusters`.

    Raises:
      CatalogueError: no such column, or rows that the catalogue has not.
    """
    from hsjax.atomic import write_atomically
    from hsjax.evaluation.clusters import cluster_purity, cluster_scores
    from hsjax.evaluation.markdown import table
    from hsjax.evaluation.predictions import read_predictions
    from hsjax.recategorize_report import scores_table
    from hsjax.taxonomy import Taxonomy

    found = read_predictions(predictions / "predictions.parquet")
    classes = first_new(found.decoded[found.main], Taxonomy.load(old))
    truth = read_column(source, column, found.row)
    names, clusters = np.unique(classes, return_inverse=True)
    clusters = np.where(classes == "", -1, clusters)
    scores = cluster_scores(truth, clusters)
    each = cluster_purity(truth, clusters)
    rows = [
        [names[c], int(n), f"{100 * p:.1f}", str(label)]
        for c, n, p, label in zip(*each, strict=True)
    ]
    head = ["new class", "products", "purity, %", f"commonest {column}"]
    text = f"# New classes beside {column}\n\n{table(head, rows)}\n\n"
    text += scores_table(scores) + "\n"
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(output / "new_classes.md", text)
    document = json.dumps({"metrics": scores}, indent=1) + "\n"
    write_atomically(output / "new_classes.json", document)
    return text


def first_new(codes: np.ndarray, tree) -> np.ndarray:
    """(N,) code of the first node of each path that a tree has not, '' = none."""
    found = np.full(len(codes), "", dtype=codes.dtype)
    for level in reversed(range(codes.shape[1])):
        known = set(tree.codes[level].tolist()) if level < tree.num_levels else set()
        here = codes[:, level]
        new = np.array([c != "" and c not in known for c in here.tolist()], bool)
        found = np.where(new, here, found)
    return found


def read_column(source: Path, column: str, rows: np.ndarray) -> np.ndarray:
    """Texts of a column of these 1-based rows.

    Raises:
      CatalogueError: there is no such column, or no such row.
    """
    from hsjax.data.columns import missing_column
    from hsjax.data.quarantine import CatalogueError, Quarantine
    from hsjax.data.sources import as_text, column_names, read_rows

    names = column_names(source)
    if column not in names:
        raise missing_column(source, column, "--column", names)
    read = read_rows(source, Quarantine(), columns=(column,))
    texts = {row: as_text(values.get(column)) for row, values in read}
    if gone := [row for row in rows.tolist() if row not in texts]:
        raise CatalogueError(
            f"{source} has no row {gone[0]}: give the catalogue that was answered"
        )
    return np.array([texts[row] for row in rows.tolist()], str)


def run(argv) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"not understood: {' '.join(argv[1:])}")
    from hsjax.tasks import user_errors

    with user_errors():
        paths = (Path(x.value) for x in (PREDICTIONS, OLD, INPUT))
        print(score_new_classes(*paths, COLUMN.value, Path(OUTPUT.value)))
    print(f"all files: {OUTPUT.value}")


def main() -> None:
    show_log()
    app.run(run)


if __name__ == "__main__":
    sys.exit(main())
