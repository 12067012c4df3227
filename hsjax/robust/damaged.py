"""Runs under damage: each damage is done, and its items encoded, once for all."""

import logging
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from hsjax.data.corrupt import SEVERITIES, corrupt_records
from hsjax.data.damaged_pictures import damages_pictures
from hsjax.data.quarantine import CatalogueError
from hsjax.data.records import Record
from hsjax.evaluation.measures import (
    answers,
    class_averages,
    level_ratios,
    ratio_statistic,
)
from hsjax.evaluation.metrics import labelled
from hsjax.evaluation.path_measures import decode_ratios
from hsjax.evaluation.predictions import Predictions
from hsjax.evaluation.robust_cells import CLEAN, Cells
from hsjax.evaluation.robust_table4 import write_table4
from hsjax.evaluation.robust_tables import write_robustness
from hsjax.features.live import Encoded
from hsjax.robust.damage_facts import facts_of
from hsjax.robust.subjects import Products, Subject, prepared
from hsjax.spelling import meant
from hsjax.sweep.lists import Run, chosen_runs, is_done_below, read_runs
from hsjax.train.config import gives_classes
from hsjax.train.workdir import ConfigError

log = logging.getLogger("hsjax")

# Paper A's Table 4: noisy text, missing text, missing image
TABLE4 = ("typos@3", "no_text@5", "no_image@5")
# of a cell; one that was measured before there were these is measured again
FIGURES = {
    "figures": "accuracy, precision, recall, F1, counts",
    "strengths": zlib.crc32(repr(sorted(SEVERITIES.items())).encode()),
}


class Asked(NamedTuple):
    """What is done to which products.

    Attributes:
      damages: names of `SEVERITIES`, () = all; severities: of 1 to 5.
      part: of the runs' own catalogue; rows: so many products of it, 0 = all.
      seed: of the damage, and of the choice of products.
      table4: NAME@SEVERITY of the rows of Table 4.
      table4_alone: measure these, and nothing else.
    """

    damages: tuple[str, ...]
    severities: tuple[int | str, ...]
    part: str
    rows: int
    seed: int
    table4: tuple[str, ...] = TABLE4
    table4_alone: bool = False

    def names(self) -> tuple[str, ...]:
        """Of the damages that are done."""
        if self.table4_alone:
            return tuple(name.partition("@")[0] for name in self.table4)
        return self.damages or tuple(SEVERITIES)

    def conditions(self) -> list[str]:
        """`clean`, then NAME@SEVERITY.

        Raises:
          CatalogueError: an unknown name, or a severity that is none.
        """
        for name in self.damages:
            if name not in SEVERITIES:
                raise CatalogueError(
                    f"--damages: {name!r} is none; known: {', '.join(SEVERITIES)}"
                )
        for severity in self.severities:
            if str(severity) not in tuple("12345"):
                raise CatalogueError(f"--severities: {severity!r} is not one of 1 to 5")
        for name in self.table4:
            found = re.fullmatch(r"(\w+)@[1-5]", name)
            if not found or found[1] not in SEVERITIES:
                raise CatalogueError(
                    f"--table4_rows: {name!r} is no NAME@SEVERITY; names:"
                    f" {', '.join(SEVERITIES)}"
                )
        every = [f"{n}@{s}" for n in self.names() for s in self.severities]
        return [CLEAN, *dict.fromkeys(self.table4 if self.table4_alone else every)]


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

    Table 4 is written, too, where its conditions are among those asked for.

    Args:
      path: of the list of runs; those that are not trained yet are left out, and told.
      common: see `read_runs`.
      only: rows of the list; () = all.
      metric: of table and plot, as report.json names it; '' = deepest accuracy.

    Raises:
      CatalogueError, ConfigError, WorkdirError: whatever a user can mend, in words.
    """
    conditions = asked.conditions()
    runs = _chosen(read_runs(path, common, root, only=only), root, only)
    same = {"part": asked.part, "rows": asked.rows, "seed": asked.seed}
    cells = Cells(output / "cells.jsonl", {**same, **FIGURES})
    pictures = damages_pictures("+".join(dict.fromkeys(asked.names())))
    subjects, products = prepared(
        runs, root, **same, pictures=pictures, flaws=output / "quarantine.csv"
    )
    todo = len(subjects) * len(conditions)
    with tqdm(total=todo, unit="cell", desc="damages", disable=None) as bar:
        for condition in conditions:
            _measure(subjects, products, condition, asked.seed, cells, bar)
            if condition == CLEAN:  # the first: before what takes long
                _check_metric(metric, subjects, cells)
    measured = [
        cell
        for subject in subjects
        for condition in conditions
        if (cell := cells.found(subject.run, subject.mark, condition))
    ]
    asked_of = {subject.run.row: products[subject.kind] for subject in subjects}
    facts = facts_of(runs, root, conditions, asked_of)
    if set(asked.table4) <= set(conditions):
        text = write_table4(measured, output, asked.table4, facts)
        if asked.table4_alone:
            return text
    return write_robustness(measured, output, metric=metric, facts=facts)


def _chosen(runs: Sequence[Run], root: Path, only: Sequence[str]) -> list[Run]:
    """Trained runs of the rows that are asked for, those that give classes."""
    wanted = chosen_runs(runs, only)
    done = [run for run in wanted if is_done_below(root, run)]
    for run in wanted:
        if run not in done:
            log.warning("%s is not trained yet, and left out", root / run.name)
    if not done:
        raise ConfigError(f"{root}: no run of the list is trained yet")
    for run in done:
        if not gives_classes(run.config):
            told = "is only aligned and gives no classes, and is left out"
            log.warning("%s %s", root / run.name, told)
    done = [run for run in done if gives_classes(run.config)]
    if not done:
        raise ConfigError(f"{root}: no run of the list gives classes")
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
            cells.add(subject.run, subject.mark, condition, *_metrics(found))
        bar.update()


def _check_metric(metric: str, subjects: Sequence[Subject], cells: Cells) -> None:
    found = [cells.found(x.run, x.mark, CLEAN) for x in subjects]
    known = sorted({name for cell in found for name in cell.metrics})
    if metric and metric not in known:
        told = f"--metric={metric}.{meant(metric, known)}"
        raise CatalogueError(f"{told} Measured are {', '.join(known)}")


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


def _metrics(predictions: Predictions) -> tuple[dict[str, float], dict]:
    """Accuracy, macro and weighted precision, recall and F1 of each level, hF1.

    Values are those of a report: of its families only what is needed is computed. Then
    the counts of the rows, see `Cell`, of accuracy and hF1.
    """
    scored = labelled(predictions)
    ones, found, ratios = np.ones((len(scored), 1)), {}, {}
    for level in range(scored.num_levels):
        name = f"level{level + 1}/accuracy"
        ratios[name] = level_ratios(scored, level)[name]
        truth, answer = scored.truth[:, level], answers(scored)[:, level]
        averages = class_averages(truth, answer)(ones)
        found |= {f"level{level + 1}/{key}": value for key, value in averages.items()}
    ratios["hierarchical/f1"] = decode_ratios(scored)["hierarchical/f1"]
    found = ratio_statistic(ratios)(ones) | found
    counts = {}
    for name, of in ratios.items():  # a row without a label adds nothing
        counts[name] = np.zeros((2, len(predictions)), np.int64)
        counts[name][:, predictions.truth[:, 0] != ""] = of
    return {name: float(value[0]) for name, value in found.items()}, counts
