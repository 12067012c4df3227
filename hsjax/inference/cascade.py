"""Two models with a threshold between them (Paper B, section VI), as it is kept."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer

from hsjax.atomic import write_atomically
from hsjax.data.records import CatalogueError
from hsjax.data.run_stores import places_of_each
from hsjax.evaluation.cascade_curve import Reached
from hsjax.evaluation.cascade_report import PartCost
from hsjax.evaluation.predictions import Predictions
from hsjax.inference.predict import run_config
from hsjax.taxonomy import Taxonomy
from hsjax.train.config import gives_classes, read_config

FILE = "cascade.json"
FORMAT = 2


class Cascade(NamedTuple):
    """What is kept of a fitted cascade.

    Thresholds are on what the cheap model states, as it is: an isotonic calibration has
    plateaus, on which many products are equally sure, so that a budget could not be
    met finely. The order is the same; a calibrated number is for people.

    Attributes:
      runs: cheap, strong.
      calibration: of the cheap model's stated probability.
      threshold: stated; what is below goes to the strong model.
      floor: stated; what is below goes to nobody.
      costs: ms of a product in each stage, nan = not measured.
      wished: what the threshold was fitted for, in words.
      fitted: what it was fitted on, in words.
      reached: what it did there.
      parts: what the costs are made of; () = a user gave them.
      versions: step and config of each run, by which one that is trained anew is known.
      metric: of `METRICS`, that was wished for.
    """

    runs: tuple[str, str]
    calibration: Mapping
    threshold: float
    floor: float
    costs: tuple[float, float]
    wished: str
    fitted: str
    reached: Reached | None = None
    parts: tuple[PartCost, ...] = ()
    versions: tuple[str, str] = ("", "")
    metric: str = "hierarchical_f1"

    def routed(
        self, cheap: Predictions
    ) -> tuple[Integer[np.ndarray, "E"], Bool[np.ndarray, "N"]]:
        """Rows that go to the strong model, and which are left to people."""
        sure = stated(cheap)
        unsure = sure < self.threshold
        abstained = unsure & (sure < self.floor)
        return np.flatnonzero(unsure & ~abstained), abstained


def stated(p: Predictions) -> Float[np.ndarray, "N"]:
    """The probability of the whole path that a model answered, as it says itself."""
    return np.exp(p.log_prob.astype(np.float64))


def check_stages(workdirs: Sequence[Path], features: Mapping[str, Path | str]) -> None:
    """Can the second run answer what the first is not sure of?

    Raises:
      CatalogueError: they have different trees, one gives no classes, or the first has
        no confidence.
      CatalogueError, WorkdirError: see `run_config`.
    """
    places = places_of_each([read_config(folder) for folder in workdirs], features)
    configs = [run_config(*pair) for pair in zip(workdirs, places, strict=True)]
    for folder, config in zip(workdirs, configs, strict=True):
        if not gives_classes(config):
            raise CatalogueError(
                f"{folder} was trained without classification: it names no class, and"
                " can be no stage of a cascade"
            )
    cheap, strong = (Taxonomy.load(folder / "taxonomy.json") for folder in workdirs)
    if cheap.hash != strong.hash:
        raise CatalogueError(
            f"the cheap run {workdirs[0]} has the label tree {cheap!r}, the strong run"
            f" {workdirs[1]} has {strong!r}, so one cannot answer what the other sends"
            " on: train both with the same taxonomy.path, or on the same catalogue"
        )
    if configs[0].eval.decode == "independent":
        raise CatalogueError(
            f"{workdirs[0]} answers each level by itself (eval.decode), so that no path"
            " has a probability: train with another decode"
        )


def read_cascade(folder: Path) -> Cascade:
    """What a cascade that was fitted before left in its folder.

    Raises:
      CatalogueError: nothing, or of another format.
    """
    path = folder / FILE
    if not path.is_file():
        raise CatalogueError(
            f"{folder} holds no cascade (no {FILE}): python -m hsjax.cascade fits one"
        )
    try:
        found = json.loads(path.read_text())
        if found.pop("format") != FORMAT:
            raise ValueError("of another version of hsjax, fit it again")
        names = ("runs", "costs", "versions")
        own = {name: tuple(found.pop(name)) for name in names}
        own["reached"] = Reached(**found.pop("reached"))
        own["parts"] = tuple(PartCost(**x) for x in found.pop("parts"))
        return Cascade(**found, **own)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CatalogueError(f"{path}: no cascade to read: {error}") from None


def write_cascade(cascade: Cascade, folder: Path) -> None:
    """`cascade.json`, for `read_cascade`."""
    told = {"format": FORMAT, **cascade._asdict()}
    told["reached"] = cascade.reached._asdict()
    told["parts"] = [x._asdict() for x in cascade.parts]
    text = json.dumps(told, indent=1)
    write_atomically(folder / FILE, text + "\n")
