"""Several runs as one: the geometric mean of what they think of whole paths.

    p(path) ~ (p_1(path) x ... x p_M(path)) ** (1 / M)

A product of experts (Hinton 2002, doi:10.1162/089976602760128018) of equal weights.
Runs may read products each in its own way, trained models and baselines alike; what
they share is the tree.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from hsjax.baselines.fitting import answer_table, path_predictions
from hsjax.data.columns import model_columns
from hsjax.data.prepare import Catalogue
from hsjax.data.records import CatalogueError, Record
from hsjax.evaluation.markdown import table
from hsjax.evaluation.predictions import Predictions
from hsjax.features.live import Encoded
from hsjax.inference.predict import Run
from hsjax.progress import progress
from hsjax.taxonomy import Taxonomy
from hsjax.train.config import config_hash, gives_classes
from hsjax.trained.asked_rows import AskedRows
from hsjax.trained.experts import (
    LOG_PROBS,
    fitted_expert,
    geometric_mean,
    in_batches,
    shared_leaves,
    trained_expert,
)
from hsjax.trained.reports import trained_baseline

ABOUT = (
    "The geometric mean of the distributions of these runs over whole paths, with equal"
    " weights. Labels and frequencies in training are of the first."
)


class Member(NamedTuple):
    """A run that is asked, and how it reads what it is asked.

    Attributes:
      run: trained; None = a baseline, whose own `catalogue` is at hand.
      rows: asked for, before any damage; records: what is answered.
    """

    workdir: Path
    config: ConfigDict
    run: Run | None
    catalogue: Catalogue | None
    rows: AskedRows
    records: Sequence[Record]

    @property
    def model(self) -> Run | Catalogue:
        """Has the tree and the tokenizer."""
        return self.run or self.catalogue


def check_ensemble(
    workdirs: Sequence[Path], configs: Sequence[ConfigDict], flags: Mapping
) -> None:
    """Can these runs be asked together? Looked at before anything is read.

    Args:
      flags: name -> value of what only one run can be asked for, '' = not asked.

    Raises:
      CatalogueError: another tree, a run without classes, or such a flag.
    """
    for name in (name for name, value in flags.items() if value):
        raise CatalogueError(f"--{name} asks one run alone: name one in --run")
    trees = [Taxonomy.load(workdir / "taxonomy.json") for workdir in workdirs]
    for workdir, config, tree in zip(workdirs, configs, trees, strict=True):
        if tree.hash != trees[0].hash:
            raise CatalogueError(
                f"--run: {workdir} has another label tree ({tree!r}) than"
                f" {workdirs[0]} ({trees[0]!r}), so their answers cannot be averaged:"
                " train both with the same taxonomy.path, or on the same catalogue"
            )
        if not gives_classes(config):
            raise CatalogueError(
                f"--run: {workdir} was trained without classification, so it has no"
                " probabilities to average"
            )


def check_members(members: Sequence[Member], corrupt: str, prefix: str = "") -> None:
    """Do all read the same rows, and is the same damage done to them?

    Args:
      prefix: of the flag --input that names the rows.

    Raises:
      CatalogueError: names the first run that does not, and what differs.
    """
    first = members[0]
    for other in members[1:]:
        ids, theirs = ([r.id for r in m.rows.records] for m in (first, other))
        pairs = zip(ids, theirs, strict=False)
        apart = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
        told = f"--run: {other.workdir} and {first.workdir} read other rows:"
        mend = f"give --{prefix}input=FILE, and runs that name the same data.columns.id"
        if len(ids) != len(theirs):
            raise CatalogueError(f"{told} {len(theirs):,} and {len(ids):,}; {mend}")
        if apart is not None:
            raise CatalogueError(
                f"{told} {theirs[apart]!r} and {ids[apart]!r} stand at place"
                f" {apart + 1:,}; {mend}"
            )
        columns = [tuple(m.config.data.columns.text) for m in (first, other)]
        if corrupt and columns[0] != columns[1]:
            raise CatalogueError(
                f"--corrupt: {other.workdir} reads the texts {columns[1]},"
                f" {first.workdir} {columns[0]}, so the damage would be another one"
            )


def ensemble_predictions(
    members: Sequence[Member],
    *,
    groups: np.ndarray,
    confidence: float | None = None,
    told: str = "",
) -> Predictions:
    """The answers of all members as one; the only decode is `path`.

    Labels are those that the first member reads, and so is what is present.

    Args:
      groups: (N,) for intervals.
      confidence: see `answer_table`.
      told: what the progress bar says, '' = none.
    """
    first, tree = members[0], members[0].model.tree
    leaves, experts = _experts(members, groups)
    present = []

    def averaged() -> Iterator[Float[np.ndarray, "_ C"]]:
        with progress(None, told, total=len(first.records), unit="products") as bar:
            for batches in zip(*experts, strict=True):
                found = [batch.pop(LOG_PROBS) for batch in batches]
                present.append(batches[0])
                yield geometric_mean(found)
                bar.update(len(found[0]))

    settings = {"depth": tree.num_levels, "topk": first.config.eval.topk}
    answers = answer_table(
        leaves, averaged(), decode="path", confidence=confidence, **settings
    )
    here = {k: np.concatenate([x[k] for x in present]) for k in present[0]}
    return path_predictions(first.records, tree, answers, groups=groups, present=here)


def _experts(members: Sequence[Member], groups: np.ndarray):
    """The leaves that are answered, and the batches of each member."""
    fitted = [
        None if m.run else trained_baseline(m.config, m.catalogue) for m in members
    ]
    known = [model and model.paths for model in fitted]
    leaves, encode = shared_leaves(members[0].model.tree, known), Encoded()
    experts = []
    for m, model in zip(members, fitted, strict=True):
        if model is None:
            found = trained_expert(m.run, m.records, groups=groups, encode=encode)
        else:
            columns = model_columns(m.config)
            found = fitted_expert(model, m.records, columns=columns, leaves=leaves)
        experts.append(in_batches(found))
    return leaves, experts


def told_members(members: Sequence[Member], context: Mapping, damage: str) -> dict:
    """What a report says of an ensemble, for its context.

    Args:
      context: as of the first member alone.
      damage: in words.
    """
    folders = [str(m.workdir) for m in members]
    names = [m.workdir.name for m in members]
    names = names if len(set(names)) == len(names) else folders
    kinds = [
        f"trained, step {m.run.step:,}"
        if m.run
        else f"baseline, {m.config.baseline.kind}"
        for m in members
    ]
    rows = [list(line) for line in zip(names, kinds, folders, strict=True)]
    sections = {**context["sections"]}
    warned = dict.fromkeys(x for m in members for x in m.rows.quarantine.warnings)
    own = members[0].rows.quarantine.warnings
    sections["Catalogue"] += "".join(f"\n\n{x}" for x in warned if x not in own)
    hashes = "".join(config_hash(m.config) for m in members)
    return {
        "run": f"ensemble of {', '.join(names)}{damage}",
        "step": None,
        "ensemble": folders,
        "config_hash": hashlib.sha256(hashes.encode()).hexdigest(),
        "sections": {
            "Ensemble": f"{ABOUT}\n\n{table(['run', 'is', 'folder'], rows)}",
            **sections,
        },
    }
