"""Rows of discoveries against each other, and whether their seeds find the same.

Runs of a row differ in their seed alone: intervals are Student's t over the seeds, and
rows are compared seed by seed. The products are the same in all of them, so nothing
here says how other products would have come out.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from hsjax.evaluation.cluster_stability import stability, stability_within
from hsjax.evaluation.clusters import LEFT_OUT
from hsjax.evaluation.comparison_plot import plot_comparison
from hsjax.evaluation.comparison_report import (
    COLUMNS,
    beside,
    csv_rows,
    difference_cell,
    means_table,
    told_means,
    write_table,
)
from hsjax.evaluation.comparison_rows import Comparison, Row, compare_rows
from hsjax.evaluation.intervals import MIN_RUNS
from hsjax.evaluation.markdown import DASH, table
from hsjax.recategorize.files import CLUSTERS
from hsjax.recategorize.proposals import level_keys
from hsjax.sweep.lists import Run
from hsjax.sweep.table_files import Table
from hsjax.train.workdir import ConfigError

FIGURES = {
    "purity": "purity",
    "majority_share": "commonest class",
    "purity_chance": "purity by chance",
    "nmi": "NMI",
    "ari": "ARI",
    "hungarian_accuracy": "Hungarian accuracy",
    "clusters": "clusters",
}
CHANCE = ("purity", "nmi", "ari", "hungarian_accuracy")
GIVEN = ("majority_share", "_chance")  # ends of what no method can be better in
ROWS = ("rows", "free/rows")
FREE = "Products whose class no method is told"
ALL = "All products"
BY_CHANCE = (
    "By chance: random clusters of the same sizes within each node, all products"
)
AGREEMENT = {
    "seeds/ari": "ARI of two seeds",
    "seeds/lowest": "the lowest",
    "seeds/within_nodes": "within nodes",
    "seeds/common": "in a cluster in both",
}
NOTE = (
    "NMI, ARI and shares are in %. Methods that know some classes are told half of"
    " their products: only products whose class no method is told are fair to all rows,"
    " and the draw is the same for all rows of a seed."
)
PAIRED = (
    "Differences: run by run of one seed, with the 95 % t-interval over the seeds."
    " n.s.: it holds 0. The products are the same in all runs: other products are not"
    " spoken of."
)
SEEDS_NOTE = (
    "Agreement of the clusters of the first new level, of every pair of seeds, on all"
    " products; another seed draws another map. Within nodes: nodes are the same in all"
    " runs and agree by themselves, so here is the mean over those that some seed has"
    " divided."
)


def are_discoveries(shown: Table, runs: Sequence[Run]) -> bool:
    """Is it a table of discoveries?

    Raises:
      ConfigError: some of the rows are, or it is a table of what they have not.
    """
    # a run without a config is one that nobody asked for
    found = {run.config.task == "recategorize" for run in runs if run.config}
    if True not in found:
        return False
    if len(found) > 1:
        raise ConfigError(f"{shown.title}: some rows are discoveries and some are not")
    for field in ("levels", "folder", "curves", "series", "budget", "stopping"):
        if getattr(shown, field):
            raise ConfigError(f"{shown.title}: discoveries have no {field}")
    return True


def make_discoveries(shown: Table, rows: Sequence[Row], stem: Path) -> str:
    """Writes STEM.md, .csv and .png, and returns the Markdown.

    Raises:
      CatalogueError: a report that cannot be read. ConfigError: no report has a metric.
    """
    blocks = _blocks(shown)
    found = compare_rows(rows, [*(k for of in blocks.values() for k in of), *ROWS])
    for name in shown.metrics:
        if not any(of[name].runs for of in found.figures.values()):
            raise ConfigError(f"{shown.title}: no report has {name!r}")
    parts = [f"# {shown.title}", told_means(found), NOTE]
    for title, of in blocks.items():
        parts += [f"## {title}", means_table(found, of)]
        own = {k: v for k, v in of.items() if not k.endswith(GIVEN)}
        if lines := list(_differences(found, own)):
            parts.append(table(["row − reference", *own.values()], lines))
    parts += _told_pairs(found)
    agreed = {r.name: seed_agreement(r.folders) for r in rows if len(r.folders) > 1}
    if agreed:
        lines = [
            [name, *(f"{100 * x:.1f}" if x == x else DASH for x in of.values())]
            for name, of in agreed.items()
        ]
        head = ["row", *AGREEMENT.values()]
        parts += ["## Do the seeds find the same?", table(head, lines), SEEDS_NOTE]
    text = "\n\n".join(parts) + "\n"
    seeds = [
        [
            r.name,
            "",
            name,
            len(r.folders),
            r.planned,
            value,
            *("",) * (len(COLUMNS) - 6),
        ]
        for r in rows
        for name, value in agreed.get(r.name, {}).items()
    ]
    write_table(stem, text, COLUMNS, [*csv_rows(found), *seeds])
    plot_comparison(found, beside(stem, "png"), headings=_panels(blocks))
    return text


def _panels(blocks: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Drawn are shares in which a method can be better; without one, what is asked."""
    better = {
        name: f"{heading}, not told" if title == FREE else heading
        for title, of in blocks.items()
        for name, heading in of.items()
        if not name.endswith((*GIVEN, "clusters", "coverage"))
    }
    return better or {k: v for of in blocks.values() for k, v in of.items()}


def _blocks(shown: Table) -> dict[str, dict[str, str]]:
    """Title -> metric -> heading."""
    if shown.metrics:
        free = {k: v for k, v in shown.metrics.items() if k.startswith("free/")}
        rest = {k: v for k, v in shown.metrics.items() if k not in free}
        return {t: of for t, of in ((FREE, free), (ALL, rest)) if of}
    free = {f"free/{name}": heading for name, heading in FIGURES.items()}
    return {
        FREE: free | {"free/accuracy_new": "classes that no method knows"},
        ALL: FIGURES | {"kept/coverage": "kept"},
        BY_CHANCE: {f"{name}_chance": FIGURES[name] for name in CHANCE},
    }


def _differences(found: Comparison, names: Mapping[str, str]) -> Iterator[list[str]]:
    for row in found.rows:
        figures = [(name, found.figures[row.name][name]) for name in names]
        if any(figure.paired for _, figure in figures):
            cells = [difference_cell(name, figure) for name, figure in figures]
            yield [f"{row.name} − {row.reference}", *cells]


def _told_pairs(found: Comparison) -> list[str]:
    """What differences are, and why some are missing or say little."""
    told, any_pair = [], False
    for row in found.rows:
        if row.reference not in found.figures or not row.folders:
            continue
        mine, theirs = found.figures[row.name], found.figures[row.reference]
        paired = any(figure.paired for figure in mine.values())
        any_pair |= paired
        if not paired:
            told.append(
                f"- {row.name} is not compared with {row.reference}: fewer than"
                f" {MIN_RUNS} seeds of both are done."
            )
        elif any(_differ(mine[n].mean[0], theirs[n].mean[0]) for n in ROWS):
            told.append(
                f"- {row.name} and {row.reference} were scored on different products:"
                " their differences say little."
            )
    return [PAIRED] * any_pair + (["\n".join(told)] if told else [])


def _differ(one: float, other: float) -> bool:
    """nan = a report of old, which does not say."""
    return abs(one - other) > 0


def seed_agreement(folders: Sequence[Path]) -> dict[str, float]:
    """How alike the clusters of several runs are, as `AGREEMENT` names it.

    A node that was not divided is one cluster; a product that a run has not is in none.
    """
    found = [_clusters(folder) for folder in folders]
    rows = np.unique(np.concatenate([own["row"] for own in found]))
    nodes = np.full(len(rows), "", dtype=object)
    spread = np.full((len(found), len(rows)), LEFT_OUT)
    kept = spread.copy()
    for i, own in enumerate(found):
        places = np.searchsorted(rows, own["row"])
        nodes[places] = own["node"]
        spread[i, places] = own["number"]
        kept[i, places] = np.where(own["inside"], own["number"], LEFT_OUT)
    whole = stability(list(spread))
    within = stability_within(list(spread), nodes.astype(str))
    values = whole.ari, whole.lowest, within, stability(list(kept)).common
    return dict(zip(AGREEMENT, values, strict=True))


def _clusters(folder: Path) -> dict[str, np.ndarray]:
    """Of each product its row, node, the number of its cluster of the first new level,
    and whether it is in one or only near one."""
    columns = ["row", "node", "cluster", "spread"]
    read = pq.read_table(folder / CLUSTERS, columns=columns).to_pydict()
    keys = level_keys(np.array(read["spread"], str), 0).tolist()
    pairs = [f"{node}|{key}" for node, key in zip(read["node"], keys, strict=True)]
    return {
        "row": np.array(read["row"], int),
        "node": np.array(read["node"], object),
        "number": np.unique(pairs, return_inverse=True)[1],
        "inside": np.array(read["cluster"], str) != "",
    }
