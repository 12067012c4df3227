"""Is one model better than another on the same rows? Paired bootstrap over groups.

Each side may be several runs that differ in their seed: means are compared, and the
spread over the seeds stands beside as an interval of its own. Or two decodes of the
same runs, whose difference has an interval over products and one over seeds.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hsjax.atomic import write_atomically
from hsjax.data.records import CatalogueError
from hsjax.evaluation.common_levels import on_common_levels
from hsjax.evaluation.comparison_sides import read_sides
from hsjax.evaluation.comparison_tables import (
    comparison_table,
    footnote,
    seeds_table,
    told_twins,
)
from hsjax.evaluation.intervals import Interval
from hsjax.evaluation.metrics import labelled
from hsjax.evaluation.paired import over_seeds, paired_difference, paired_over_seeds
from hsjax.evaluation.predictions import Predictions
from hsjax.evaluation.rarity import common_counts

MAIN_METRICS = ("accuracy", "macro_f1", "macro_f1_min5", "weighted_f1")
PATHS = ("path/accuracy", "path/invalid")  # in which decodes differ, beside these


def compare_runs(
    compared: Sequence[str],
    against: Sequence[str],
    output: Path,
    metrics: Sequence[str] = (),
    decodes: Sequence[str] = (),
    *,
    tree: Path | None = None,
) -> None:
    """Writes `comparison.md` and `.json`: each side over its seeds, and the difference.

    Of two decodes of the same runs the difference has a second interval, over the
    seeds: see `paired_over_seeds`.

    Args:
      compared: folders with predictions, one per seed.
      against: folders of the reference; none = only the means over the seeds.
      metrics: names as in report.json; none = those of the deepest level and hF1, of
        decodes also that of whole paths.
      decodes: two, that are compared instead of other runs.
      tree: a taxonomy.json; both sides are compared in it, see `in_tree`.

    Raises:
      CatalogueError: the runs cover other rows, a metric or decode is unknown, or a run
        has no answers.
    """
    read = read_sides(compared, against, decodes, tree)
    sides, cut = on_common_levels(read, metrics)
    runs = [run for side in sides.values() for run in side]
    names = [*_main_metrics(runs[0]), *PATHS[: len(decodes)]]
    names = list(metrics or dict.fromkeys(names))
    counts = common_counts([Path(x) for x in (*compared, *against)])
    document = {"compared": list(compared), "against": list(against)}
    try:
        text, found = _compared(sides, names, counts, bool(decodes))
    except KeyError as error:
        raise CatalogueError(f"--metrics: {error.args[0]}") from None
    document |= ({"decodes": list(decodes)} if decodes else {}) | found
    text += f"\n\n{cut}" * bool(cut) + told_twins(sides)
    document |= (sizes := _sizes(runs))
    text += "\n\n" + footnote(names, sizes)
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(output / "comparison.md", text + "\n")
    write_atomically(output / "comparison.json", json.dumps(document, indent=1) + "\n")
    print(text)


def _compared(
    sides: Mapping[str, Sequence[Predictions]],
    names: Sequence[str],
    counts: Mapping[str, int] | None,
    same_runs: bool,
) -> tuple[str, dict]:
    """(tables, what they show as a document): each side, and how both differ.

    Args:
      counts: node code -> training rows; same_runs: sides are decodes of the same runs.
    """
    options = {"train_counts": counts}
    seeds = {side: over_seeds(of, names, **options) for side, of in sides.items()}
    text = seeds_table(seeds, {side: len(of) for side, of in sides.items()})
    document = {"seeds": {side: _plain(found) for side, found in seeds.items()}}
    if len(sides) == 1:
        return text, document
    both, over = tuple(sides.values()), {}
    differences = paired_difference(*both, names, **options)
    if same_runs:
        over = paired_over_seeds(*both, names, **options)
        document["over_seeds"] = _plain(over)
    text += "\n\n" + comparison_table(differences, *sides, seeds=over)
    return text, document | _plain(differences)


def _plain(found: Mapping[str, Interval]) -> dict[str, dict]:
    return {name: interval._asdict() for name, interval in found.items()}


def _main_metrics(run: Predictions) -> list[str]:
    """Of the deepest level that has a row, which a tree's last ones may lack.

    Where rows end above it, of all of them, too: whole paths.
    """
    scored = labelled(run).truth != ""
    deepest = int(np.flatnonzero(scored.any(axis=0)).max())
    names = [*(f"level{deepest + 1}/{x}" for x in MAIN_METRICS), "hierarchical/f1"]
    return names if scored[:, deepest].all() else [*names, PATHS[0]]


def _sizes(runs: Sequence[Predictions]) -> dict[str, list[int]]:
    """Labelled rows and their groups, of each run."""
    kept = [labelled(run) for run in runs]
    groups = [len(np.unique(run.group)) for run in kept]
    sizes = {"rows": [len(run) for run in kept], "groups": groups}
    depth = max(run.truth.shape[1] for run in kept)
    for level in range(depth):
        here = [int((run.truth[:, level] != "").sum()) for run in kept]
        sizes[f"rows of level {level + 1}"] = here
    return sizes
