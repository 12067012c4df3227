"""Two runs with their answers in one order of rows."""

from dataclasses import replace

import numpy as np

from hsjax.data.records import CatalogueError
from hsjax.evaluation.predictions import Predictions


def align(run: Predictions, reference: Predictions) -> Predictions:
    """`run` in the row order of `reference`, with its groups.

    Raises:
      CatalogueError: other rows, or other labels on the same rows.
    """
    wanted, given = reference.row.tolist(), run.row.tolist()
    where = {key: index for index, key in enumerate(given)}
    if len(where) < len(given):
        raise CatalogueError(
            "a row occurs twice in one run, so that two runs cannot be joined"
        )
    missing, extra = set(wanted) - where.keys(), where.keys() - set(wanted)
    if missing or extra:
        example = min(missing or extra)
        raise CatalogueError(
            f"the runs cover different rows: {len(missing)} are only in the first,"
            f" {len(extra)} only in the other (for example row {example});"
            " score both on the same file and part"
        )
    aligned = run.select(np.array([where[key] for key in wanted], np.int64))
    same_shape = aligned.truth.shape == reference.truth.shape
    differ = same_shape and (aligned.truth != reference.truth).any(axis=1)
    if not same_shape or differ.any():
        first = f" (first at row {wanted[int(np.argmax(differ))]})" * same_shape
        raise CatalogueError(f"the runs have different labels on the same rows{first}")
    return replace(aligned, group=reference.group)
