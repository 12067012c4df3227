"""A run's catalogue: read, kept in the workdir, and divided for training."""

import logging
from pathlib import Path

import jax
import numpy as np

from hsjax.data.features import features_of
from hsjax.data.prepare import Catalogue, examples_of, read_catalogue
from hsjax.data.records import CatalogueError
from hsjax.evaluation.collect import describe_rows
from hsjax.reports import leaf_counts
from hsjax.train.checkpoint import checkpoint_steps
from hsjax.train.start import TrainingParts, check_length
from hsjax.train.workdir import (
    check_report,
    keep_taxonomy,
    open_workdir,
    read_config,
    write_config,
    write_train_counts,
)

log = logging.getLogger("hsjax")


def open_catalogue(config, workdir: Path) -> Catalogue:
    """Reads the catalogue and keeps in the workdir what the run is built on.

    Raises:
      WorkdirError: the workdir is of another experiment, other rows or another tree.
    """
    before = open_workdir(config, workdir)
    source = Path(config.init_from) if config.init_from else None
    if source:
        read_config(source)  # no run there: say so before the catalogue is read
    if checkpoint_steps(workdir):
        source = workdir  # a run that goes on must mean the same by its token ids
    catalogue = read_catalogue(
        config, source_run=source, flaws=workdir / "quarantine.csv"
    )
    check_report(workdir, catalogue.manifest)
    if before is not None:
        check_length(before, config, len(catalogue.rows("train")))
    for code, count in sorted(catalogue.cut.items()):
        log.info("too rare, cut to its parent: %s (%d products)", code, count)
    keep_taxonomy(catalogue.tree, workdir)
    training = [catalogue.records[i] for i in catalogue.rows("train")]
    write_train_counts(leaf_counts(training), workdir)
    write_config(config, workdir)
    if jax.process_index() == 0:
        catalogue.quarantine.write(workdir / "quarantine.csv")
        if catalogue.tokenizer:
            part = workdir / "tokenizer.json.part"
            catalogue.tokenizer.save(str(part))
            part.replace(workdir / "tokenizer.json")
    counts = {part: len(catalogue.rows(part)) for part in ("train", "val", "test")}
    log.info("%s, %r", counts, catalogue.tree)
    return catalogue


def scored_rows(config, catalogue: Catalogue) -> np.ndarray:
    """Positions of the records of `eval.parts`.

    Raises:
      CatalogueError: there are none.
    """
    rows = catalogue.rows(*config.eval.parts)
    if not len(rows):
        parts = "+".join(config.eval.parts)
        raise CatalogueError(
            f"the part {parts or 'of eval.parts'} of {config.data.path} is empty: name"
            " another in eval.parts, or change data.split"
        )
    return rows


def training_parts(config, catalogue: Catalogue) -> TrainingParts:
    """Training and validation examples.

    Raises:
      CatalogueError: a feature store lacks an item of any part; said here, as the test
        part is only looked at after hours.
    """
    features_of(config, catalogue.records)

    def part(name):
        rows = catalogue.rows(name)
        records = [catalogue.records[i] for i in rows]
        examples = examples_of(
            config,
            records,
            tokenizer=catalogue.tokenizer,
            spec=catalogue.spec,
            labels=catalogue.labels[rows],
            groups=catalogue.groups[rows],
        )
        return rows, records, examples

    _, train_records, train_examples = part("train")
    rows, records, val_examples = part("val")
    return TrainingParts(
        tree=catalogue.tree,
        train=train_examples,
        val=val_examples,
        val_rows=describe_rows(
            records,
            groups=catalogue.groups[rows],
            outside=catalogue.outside[rows],
            levels=catalogue.tree.num_levels,
        ),
        train_row=np.array([r.row for r in train_records]),
        train_id=np.array([r.id for r in train_records]),
        manifest=catalogue.manifest,
    )
