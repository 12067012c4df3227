"""The two sides of a comparison: runs against runs, or two decodes of the same runs."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hsjax.data.records import CatalogueError
from hsjax.evaluation.in_tree import in_tree
from hsjax.evaluation.metrics import answered, labelled
from hsjax.evaluation.predictions import Predictions, read_predictions
from hsjax.spelling import meant
from hsjax.taxonomy import Taxonomy


def read_sides(
    compared: Sequence[str],
    against: Sequence[str],
    decodes: Sequence[str] = (),
    tree: Path | None = None,
) -> dict[str, list[Predictions]]:
    """Title -> runs of each side, read from their folders.

    Args:
      against: folders of the reference; none = one side alone.
      decodes: two of the same runs, instead of `against`.
      tree: a taxonomy.json, to which all are cut: see `in_tree`.

    Raises:
      CatalogueError: both sides are the same, a folder has no answers or no labels, or
        not such a decode.
    """
    if decodes:
        if len({*decodes}) != 2 or len(decodes) != 2 or against:
            raise CatalogueError(
                "--decodes names two that differ, such as path,greedy, of the runs in"
                " --compare alone"
            )
        runs = [_read(Path(folder)) for folder in compared]
        sides = {name: [as_decode(run, name) for run in runs] for name in decodes}
    else:
        pairs = _titles(compared, against)
        sides = {name: [_read(Path(folder)) for folder in of] for name, of in pairs}
    if not tree:
        return sides
    known = Taxonomy.load(tree)
    return {side: [in_tree(run, known) for run in of] for side, of in sides.items()}


def as_decode(predictions: Predictions, decode: str) -> Predictions:
    """The same with another decode as the answer.

    What is stated of the answer that was written, its probabilities, is not known of
    another one: nan, so that no calibration is measured.

    Raises:
      CatalogueError: there is no such decode, with the one that may be meant.
    """
    p = predictions
    if decode == p.main:
        return p
    if decode not in p.decoded:
        raise CatalogueError(
            f"there is no decode {decode!r} in the predictions, they have"
            f" {', '.join(p.decoded)}.{meant(decode, p.decoded)}"
        )
    unknown = np.full_like(p.prob, np.nan), np.full_like(p.log_prob, np.nan)
    return replace(p, main=decode, prob=unknown[0], log_prob=unknown[1])


def _titles(
    compared: Sequence[str], against: Sequence[str]
) -> Iterator[tuple[str, list[str]]]:
    """(title, folders) of each side, the titles as short as they stay apart.

    Raises:
      CatalogueError: both are the same folders.
    """
    if list(compared) == list(against):
        raise CatalogueError(
            "--compare and --against name the same folders: nothing can differ"
        )
    both = [list(compared), list(against)] if against else [list(compared)]
    short = [" + ".join(map(_called, dirs)) for dirs in both]
    long = [" + ".join(dirs) for dirs in both]
    return zip(short if len({*short}) == len(both) else long, both, strict=True)


def _called(folder: str) -> str:
    """The folder's name, of one seed of a row both names."""
    path = Path(folder)
    of_row = path.name.startswith("seed") and path.parent.name
    return f"{path.parent.name}/{path.name}" if of_row else path.name


def _read(folder: Path) -> Predictions:
    """Of a run or a report; CatalogueError: there are no answers, or no labels."""
    found = read_predictions(folder / "predictions.parquet")
    if not answered(found):
        raise CatalogueError(
            f"{folder} has no answers to compare: it was trained without"
            " classification; its retrieval stands in report.json"
        )
    if not len(labelled(found)):
        raise CatalogueError(
            f"{folder} answers rows without labels, which cannot be compared: score a"
            " labelled file by --input"
        )
    return found
