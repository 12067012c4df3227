"""Runs whose trees have the same levels above, but not equally many."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hsjax.data.records import CatalogueError
from hsjax.evaluation.predictions import Predictions

Sides = Mapping[str, Sequence[Predictions]]


def cut(predictions: Predictions, levels: int) -> Predictions:
    """The answers as far as these levels, and labels that end there.

    Only metrics of levels, and the hierarchical ones over them, mean anything of it:
    the most probable paths and their probabilities stay those of the whole tree.
    """
    p = predictions
    return replace(
        p,
        truth=p.truth[:, :levels],
        complete=p.complete | (p.truth[:, levels - 1] != ""),
        decoded={name: codes[:, :levels] for name, codes in p.decoded.items()},
        prob=p.prob[:, :levels],
        level_topk=p.level_topk[:, :levels],
    )


def on_common_levels(sides: Sides, metrics: Sequence[str]) -> tuple[Sides, str]:
    """All runs cut to the levels that all have, and a sentence where that cuts any.

    Args:
      metrics: that are asked for.

    Raises:
      CatalogueError: one of them is of whole paths, which are not the same.
    """
    depths = sorted({run.num_levels for side in sides.values() for run in side})
    if len(depths) == 1:
        return sides, ""
    for name in metrics:
        if not name.startswith(("level", "digits", "hierarchical/")):
            raise CatalogueError(
                f"--metrics: {name!r} is of whole paths, but the runs have"
                f" {' and '.join(map(str, depths))} levels: name levels that all have"
            )
    least = depths[0]
    told = f"The runs have {' and '.join(map(str, depths))} levels; compared are the"
    told += f" first {least}, which all have." if least > 1 else " first alone."
    same = {name: [cut(run, least) for run in side] for name, side in sides.items()}
    return same, told
