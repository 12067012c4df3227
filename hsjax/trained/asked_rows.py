"""The rows that a run is asked about: a part of its own catalogue, or another file."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from hsjax.data.groups import content_hashes, group_keys
from hsjax.data.prepare import Catalogue, read_catalogue
from hsjax.data.quarantine import written_if_refused
from hsjax.data.records import CatalogueError, Quarantine, Record
from hsjax.data.splits import PARTS
from hsjax.data.stored_records import selected
from hsjax.data.totals import record_facts
from hsjax.inference.predict import Run
from hsjax.inference.products import read_another
from hsjax.train.kept import read_train_rows
from hsjax.train.workdir import WorkdirError, check_rows

FLAWS = "quarantine.csv"  # of the rows, beside what is answered of them


class AskedRows(NamedTuple):
    """What is to be answered, and what is known of it.

    Attributes:
      groups: (N,).
      facts: counts of rows, by their names for people.
      unlabelled: see `Products.unlabelled`.
      trained: (N,) rows of groups that the run was trained on; None = it is known of a
        part which they are of.
    """

    records: Sequence[Record]
    groups: np.ndarray
    quarantine: Quarantine
    facts: Mapping[str, int | float]
    unlabelled: str = ""
    trained: np.ndarray | None = None

    def select(self, rows: Integer[np.ndarray, "K"]) -> "AskedRows":
        """Some of them; facts and quarantine stay those of the file."""
        trained = None if self.trained is None else self.trained[rows]
        records, groups = selected(self.records, rows), self.groups[rows]
        return self._replace(records=records, groups=groups, trained=trained)

    def write_flaws(self, output: Path) -> None:
        output.mkdir(parents=True, exist_ok=True)
        self.quarantine.write(output / FLAWS)


def own_catalogue(config, workdir: Path, flaws: Path | None) -> Catalogue:
    """The catalogue of a run, with its tokenizer: nothing is trained to score it.

    Raises:
      CatalogueError: it cannot be read.
      WorkdirError: it has changed since.
    """
    tokenizer = workdir / "tokenizer.json"
    source = workdir if tokenizer.exists() else None
    catalogue = read_catalogue(config, source_run=source, flaws=flaws)
    check_own(config, workdir, catalogue)
    return catalogue


def check_own(config, workdir: Path, catalogue: Catalogue) -> None:
    """Is this the catalogue that the run was trained on?

    Raises:
      WorkdirError: it is not, or no longer.
    """
    try:
        check_rows(workdir, catalogue.manifest)
    except WorkdirError:
        raise WorkdirError(
            f"{config.data.path} has changed since {workdir} was trained on it: rows of"
            " its training part could be scored; bring the old file back, or name"
            " another with --input"
        ) from None


def part_rows(
    config, catalogue: Catalogue, part: str, flag: str = "part"
) -> Integer[np.ndarray, "N"]:
    """Numbers of the rows of a part that was asked for, by this flag.

    Raises:
      CatalogueError: no such part, or it is empty.
    """
    if part not in PARTS:
        raise CatalogueError(f"--{flag}={part}: known are {', '.join(PARTS)}")
    rows = catalogue.rows(part)
    if not len(rows):
        raise CatalogueError(f"--{flag}={part}: {config.data.path} has no such rows")
    return rows


def own_rows(config, catalogue: Catalogue, part: str, flag: str = "part") -> AskedRows:
    """A part of the run's own catalogue, see `part_rows`."""
    rows = part_rows(config, catalogue, part, flag)
    records = selected(catalogue.records, rows)
    return AskedRows(
        records, catalogue.groups[rows], catalogue.quarantine, catalogue.facts()
    )


def other_rows(
    config, model: Run | Catalogue, source: str, *, flaws: Path, workdir: Path
) -> AskedRows:
    """Every row of another file, labelled or not.

    Args:
      model: whose tree and tokenizer count.
      flaws: file for the quarantine of a file that is refused.
      workdir: of the run; rows that it was trained on are counted, and told.

    Raises:
      CatalogueError: the file cannot be read.
    """
    quarantine = Quarantine()
    with written_if_refused(quarantine, flaws):
        found = read_another(config, source, tree=model.tree, quarantine=quarantine)
    facts = record_facts(
        found.records,
        found.labels,
        found.outside,
        tree=model.tree,
        streams=config.data.text.streams.to_dict(),
        spec=model.spec,
        tokenizer=model.tokenizer,
        quarantine=quarantine,
    )
    own = np.isin(content_hashes(found.records), read_train_rows(workdir))
    if seen := int(own.sum()):
        facts |= {"rows of the run's training part": seen}
        if not found.unlabelled:
            quarantine.warn(
                f"{seen:,} of {len(found.records):,} rows were in the training part of"
                f" {workdir}: figures over them flatter it"
            )
    groups = group_keys(found.records)
    trained = np.isin(groups, groups[own])
    known = (found.unlabelled, trained)
    return AskedRows(found.records, groups, quarantine, facts, *known)


def kept_back(
    rows: AskedRows, count: int, source: str, flag: str = "fit_rows"
) -> tuple[Integer[np.ndarray, "F"], Integer[np.ndarray, "A"]]:
    """Some labelled rows to fit on, and those to answer: no group has both.

    F and A rows, N together. Groups are taken whole, in an order drawn from the names
    of their rows, each that still fits, until there are so many labelled rows, or as
    near below as groups go. What has no label in them is answered, too.

    Raises:
      CatalogueError: the file has no more labelled rows, or larger groups alone.
    """
    labelled = np.array([bool(r.path) for r in rows.records])
    if labelled.sum() <= count:
        raise CatalogueError(
            f"--{flag}={count:,}: {source} has {labelled.sum():,} labelled rows, and"
            " some must be left to answer"
        )
    names = {}  # group -> the least name, whatever the order of the file
    for record, group in zip(rows.records, rows.groups.tolist(), strict=True):
        names[group] = min(names.get(group, record.id), record.id)
    sizes = np.bincount(rows.groups, weights=labelled, minlength=max(names) + 1)
    taken, left = [], count
    for group in sorted(names, key=lambda g: sha256(names[g].encode()).digest()):
        if sizes[group] <= left:
            taken.append(group)
            left -= int(sizes[group])
    if left == count:
        raise CatalogueError(
            f"--{flag}={count:,}: every group of {source} has more rows than that"
        )
    fit = np.isin(rows.groups, taken) & labelled
    return np.flatnonzero(fit), np.flatnonzero(~fit)


def check_labelled(rows: AskedRows, source: str | None, flags: Mapping) -> None:
    """CatalogueError where rows without labels are asked for what goes by labels.

    Args:
      flags: name -> value of what scores rows by their label, '' = not asked.
    """
    for name in (name for name, value in flags.items() if value and rows.unlabelled):
        raise CatalogueError(
            f"--{name} scores rows by their label, and {source} has none"
            f" ({rows.unlabelled}): leave it out, or name a labelled file"
        )
