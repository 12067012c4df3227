"""Runs under damage: each damage is done, and its items encoded, once for all."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from hsjax.data.corrupt import SEVERITIES, corrupt_records
from hsjax.data.damaged_pictures import damages_pictures
from hsjax.data.quarantine import CatalogueError
from hsjax.data.records import Record
from hsjax.evaluation.metrics import labelled, statistic
from hsjax.evaluation.predictions import Predictions
from hsjax.evaluation.robust_cells import CLEAN, Cells
from hsjax.evaluation.robust_tables import write_robustness
from hsjax.subjects import Encoded, Products, Subject, prepared
from hsjax.sweeps import Run, is_done_below, read_runs
from hsjax.train.workdir import ConfigError

log = logging.getLogger("hsjax")


class Asked(NamedTuple):
    """What is done to which products.

    Attributes:
      damages: names of `SEVERITIES`, () = all; severities: of 1 to 5.
      part: of the runs' own catalogue; rows: so many products of it, 0 = all.
      seed: of the damage, and of the choice of products.
    """

    damages: tuple[str, ...]
    severities: tuple[int | str, ...]
    part: str
    rows: int
    seed: int

    def conditions(self) -> list[str]:
        """`clean`, then NAME@SEVERITY.

        Raises:
          CatalogueError: an unknown name, or a severity that is none.
        """
        names = self.damages or tuple(SEVERITIES)
        for name in names:
            if name not in SEVERITIES:
                raise CatalogueError(
                    f"--damages: {name!r} is none; known: {', '.join(SEVERITIES)}"
                )
        for severity in self.severities:
            if str(severity) not in "12345":
                raise CatalogueError(f"--severities: {severity!r} is not one of 1 to 5")
        return [CLEAN, *(f"{n}@{s}" for n in names for s in self.severities)]


def measure_runs(
    path: Path,
    root: Path,
    output: Path,
    asked: Asked,
    *,
    common: Sequence[str] = (),
    only: Sequence[str] = (),
    metric: str = "",
) -> str:
    """Measures what `output` lacks, writes table and plot, and returns the Markdown.

    Args:
      path: of the list of runs; those that are not trained yet are left out, and told.
      common: see `read_runs`.
      only: rows of the list; () = all.
      metric: of table and plot, as report.json names it; '' = deepest accuracy.

    Raises:
      CatalogueError, ConfigError, WorkdirError: whatever a user can mend, in words.
    """
    conditions = asked.conditions()
    runs = _chosen(read_runs(path, common), root, only)
    same = {"part": asked.part, "rows": asked.rows, "seed": asked.seed}
    cells = Cells(output / "cells.jsonl", same)
    pictures = damages_pictures("+".join(asked.damages or SEVERITIES))
    subjects, products = prepared(
        runs, root, **same, pictures=pictures, flaws=output / "quarantine.csv"
    )
    todo = len(subjects) * len(conditions)
    with tqdm(total=todo, unit="cell", desc="damages", disable=None) as bar:
        for condition in conditions:
            _measure(subjects, products, condition, asked.seed, cells, bar)
    measured = [
        cell
        for subject in subjects
        for condition in conditions
        if (cell := cells.found(subject.run, subject.mark, condition))
    ]
    return write_robustness(measured, output, metric=metric)


def _chosen(runs: Sequence[Run], root: Path, only: Sequence[str]) -> list[Run]:
    """Trained runs of the rows that are asked for."""
    rows = {run.row for run in runs}
    if unknown := [row for row in only if row not in rows]:
        raise ConfigError(
            f"--only: {unknown[0]!r} is no row of the list; it has {', '.join(rows)}"
        )
    wanted = [run for run in runs if not only or run.row in only]
    done = [run for run in wanted if is_done_below(root, run)]
    for run in wanted:
        if run not in done:
            log.warning("%s is not trained yet, and left out", root / run.name)
    if not done:
        raise ConfigError(f"{root}: no run of the list is trained yet")
    return done


def _measure(
    subjects: Sequence[Subject],
    products: Mapping[str, Products],
    condition: str,
    seed: int,
    cells: Cells,
    bar,
) -> None:
    """One condition of all runs: the damage is done once for each kind."""
    damaged, encode = {}, Encoded()
    for subject in subjects:
        bar.set_postfix_str(f"{condition}, {subject.run.name}")
        if cells.found(subject.run, subject.mark, condition) is None:
            asked = products[subject.kind]
            if subject.kind not in damaged:
                damaged[subject.kind] = _damaged(asked, condition, seed)
            found = subject.answer(damaged[subject.kind], asked.groups, encode)
            cells.add(subject.run, subject.mark, condition, _metrics(found))
        bar.update()


def _damaged(products: Products, condition: str, seed: int) -> list[Record]:
    if condition == CLEAN:
        return products.records
    return corrupt_records(
        products.records,
        condition,
        seed=seed,
        groups=products.groups,
        config_image=products.look,
    )


def _metrics(predictions: Predictions) -> dict[str, float]:
    """Accuracy of each level, the steadier macro F1 of the deepest, hF1."""
    scored = labelled(predictions)
    levels = range(1, scored.num_levels + 1)
    names = [f"level{level}/accuracy" for level in levels]
    names += [f"level{scored.num_levels}/macro_f1_min5", "hierarchical/f1"]
    found = statistic(scored, names=set(names))(np.ones((len(scored), 1)))
    return {name: float(found[name][0]) for name in names}
