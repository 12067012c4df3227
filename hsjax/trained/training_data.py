"""What of a catalogue is trained on, watched and scored."""

import numpy as np

from hsjax.data.examples import Examples
from hsjax.data.features import features_of
from hsjax.data.prepare import Catalogue, examples_of
from hsjax.data.records import CatalogueError
from hsjax.data.stored_records import selected
from hsjax.evaluation.collect import describe_rows
from hsjax.train.start import TrainingParts


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


def examples_at(config, catalogue: Catalogue, rows: np.ndarray) -> Examples:
    """Those of a catalogue's records at these positions."""
    return examples_of(
        config,
        selected(catalogue.records, rows),
        tokenizer=catalogue.tokenizer,
        spec=catalogue.spec,
        labels=catalogue.labels[rows],
        admissible=catalogue.admissible[rows],
        groups=catalogue.groups[rows],
    )


def training_parts(config, catalogue: Catalogue) -> TrainingParts:
    """Training and validation examples.

    Raises:
      CatalogueError: a feature store lacks an item of any part; said here, as the test
        part is only looked at after hours.
    """
    features_of(config, catalogue.records)
    train, val = (catalogue.rows(name) for name in ("train", "val"))
    return TrainingParts(
        tree=catalogue.tree,
        train=examples_at(config, catalogue, train),
        val=examples_at(config, catalogue, val),
        val_rows=describe_rows(
            selected(catalogue.records, val),
            groups=catalogue.groups[val],
            outside=catalogue.outside[val],
            levels=catalogue.tree.num_levels,
        ),
        train_records=selected(catalogue.records, train),
        manifest=catalogue.manifest,
    )
