"""The answers of both sides of a comparison, as folders name them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hsjax.data.records import CatalogueError
from hsjax.evaluation.in_tree import in_tree
from hsjax.evaluation.metrics import answered, labelled
from hsjax.evaluation.predictions import Predictions, read_predictions
from hsjax.taxonomy import Taxonomy


def read_sides(
    compared: Sequence[str], against: Sequence[str], tree: Path | None
) -> Mapping[str, Sequence[Predictions]]:
    """Title -> the answers of each of its runs, cut to a tree if one is given.

    Raises:
      CatalogueError: both sides are the same folders, or one has nothing to compare.
    """
    pairs = _sides(compared, against)
    sides = {name: [_read(Path(d)) for d in dirs] for name, dirs in pairs}
    if not tree:
        return sides
    known = Taxonomy.load(tree)
    return {side: [in_tree(run, known) for run in of] for side, of in sides.items()}


def _sides(compared: Sequence[str], against: Sequence[str]):
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
