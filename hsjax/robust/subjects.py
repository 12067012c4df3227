"""Trained runs of a list, each ready to answer the same damaged products."""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from hsjax.data.damaged_pictures import damage_look, reading
from hsjax.data.prepare import Catalogue
from hsjax.data.records import Record
from hsjax.data.stored_records import selected
from hsjax.evaluation.predictions import Predictions
from hsjax.features.live import Encoded
from hsjax.inference.predict import load_run, run_config
from hsjax.sweep.lists import Run
from hsjax.train.workdir import flatten
from hsjax.trained.asked_rows import check_own, own_catalogue, part_rows
from hsjax.trained.reports import fitted_baseline

# (records, their groups, what encodes items that feature stores lack)
Answer = Callable[[Sequence[Record], np.ndarray, Encoded], Predictions]


class Subject(NamedTuple):
    """A trained run, ready to answer.

    Attributes:
      kind: runs of one kind read the same records and labels.
      mark: tells a run from another one that had its name.
    """

    run: Run
    kind: str
    mark: str
    answer: Answer


class Products(NamedTuple):
    """What runs of a kind are asked, and how pictures are decoded to be damaged."""

    records: Sequence[Record]
    groups: np.ndarray
    look: object


def prepared(
    runs: Sequence[Run],
    root: Path,
    *,
    part: str,
    rows: int,
    seed: int,
    pictures: bool,
    flaws: Path,
) -> tuple[list[Subject], dict[str, Products]]:
    """Every run with its answer, and kind -> products.

    Args:
      part: of the runs' own catalogue.
      rows: so many products of it, 0 = all; a smaller number is a part of a larger one.
      seed: of the choice of products.
      pictures: they have to be read, also by runs on features.
      flaws: file for the quarantine of a catalogue that is refused.

    Raises:
      CatalogueError: no such part, or a catalogue or a feature store is gone.
      WorkdirError: a catalogue has changed since.
    """
    subjects, products, catalogues = [], {}, {}
    for run in tqdm(runs, desc="runs", unit="run", disable=None, leave=False):
        workdir = root / run.name
        config = run_config(workdir)
        kind = _kind(config)
        if kind not in catalogues:
            seen = reading(config) if pictures else config
            read = own_catalogue(seen, workdir, flaws)
            catalogues[kind] = read
            products[kind] = _products(config, read, part, rows, seed, pictures)
        else:
            check_own(config, workdir, catalogues[kind])
        subjects.append(
            Subject(run, kind, _mark(workdir), _answer(config, workdir, catalogues))
        )
    return subjects, products


def _kind(config) -> str:
    """Equal where two runs read the same records, with labels in the same tree."""
    groups = (config.data, config.taxonomy)
    told = [flatten(group.to_dict()) for group in groups]
    told.append(list(config.model.modalities))
    return json.dumps(told, sort_keys=True, default=str)


def _mark(workdir: Path) -> str:
    """When the run got its report: another training under its name is another run."""
    return str((workdir / "report.json").stat().st_mtime_ns)


def _answer(config, workdir: Path, catalogues: Mapping[str, Catalogue]) -> Answer:
    if config.task == "baseline":
        fitted = fitted_baseline(config, catalogues[_kind(config)])
        return lambda records, groups, encode: fitted(records, groups)
    run = load_run(workdir)
    return lambda records, groups, encode: run.predict(
        records, groups=groups, encode=encode
    )


def _products(config, catalogue: Catalogue, part, count, seed, pictures) -> Products:
    rows = part_rows(config, catalogue, part)
    if count and count < len(rows):
        told = [f"{seed} {catalogue.records[i].row}" for i in rows]
        order = np.argsort([zlib.crc32(x.encode()) for x in told], kind="stable")
        rows = np.sort(rows[order[:count]])
    records = selected(catalogue.records, rows)
    look = damage_look(config) if pictures else None
    return Products(records, catalogue.groups[rows], look)
