"""A threshold between two models (Paper B, section VI): wished for, fitted, kept."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hsjax.atomic import write_atomically
from hsjax.data.records import CatalogueError
from hsjax.evaluation.calibration import calibrated, fit_calibration
from hsjax.evaluation.cascade_curve import (
    NEVER,
    Curve,
    cascade_curve,
    mean_cost,
    within_cost,
    within_quality,
)
from hsjax.evaluation.measures import answers
from hsjax.evaluation.predictions import Predictions, deepest
from hsjax.inference.predict import run_config
from hsjax.taxonomy import Taxonomy
from hsjax.train.config import gives_classes

FILE = "cascade.json"
FORMAT = 1


class Wish(NamedTuple):
    """How a threshold is to be found; exactly one of the first three.

    Attributes:
      quality: points of hF1 that may be lost against the strong model.
      cost: milliseconds that a product may cost in the mean.
      threshold: by hand.
      abstain: a product that would be sent on is left to people instead where the
        strong model is right with a smaller probability; 0 = never. Threshold and
        curve are those without it.
      calibration: of the cheap model's confidence.
    """

    quality: float | None = None
    cost: float | None = None
    threshold: float | None = None
    abstain: float = 0.0
    calibration: str = "temperature"


class Cascade(NamedTuple):
    """What is kept of a fitted cascade.

    Attributes:
      runs: cheap, strong.
      calibration: of the cheap model's stated probability.
      threshold: calibrated; what is below goes to the strong model.
      floor: calibrated; what is below goes to nobody.
      costs: ms of a product in each stage, nan = not measured.
      fitted: what it was fitted on and for, in words.
      versions: step and config of each run, by which one that is trained anew is known.
    """

    runs: tuple[str, str]
    calibration: Mapping
    threshold: float
    floor: float
    costs: tuple[float, float]
    fitted: str
    versions: tuple[str, str] = ("", "")

    def confidence(self, p: Predictions) -> Float[np.ndarray, "N"]:
        """Calibrated probability of the whole path that the cheap model answered."""
        return calibrated(self.calibration, np.exp(p.log_prob.astype(np.float64)))


def check_stages(workdirs: Sequence[Path], features: Mapping[str, Path | str]) -> None:
    """Can the second run answer what the first is not sure of?

    Raises:
      CatalogueError: they have different trees, one gives no classes, or the first has
        no confidence.
      CatalogueError, WorkdirError: see `run_config`.
    """
    configs = [run_config(folder, features) for folder in workdirs]
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


def fit_cascade(
    cheap: Predictions,
    strong: Predictions,
    *,
    runs: tuple[str, str],
    wish: Wish,
    costs: tuple[float, float],
    fitted: str,
) -> Cascade:
    """The threshold that a wish asks for, on labelled rows that both have answered.

    Raises:
      CatalogueError: no cascade keeps within the cost.
    """
    kept = np.flatnonzero((cheap.truth != "").any(axis=1))
    cheap, strong = cheap.select(kept), strong.select(kept)
    right = deepest(answers(cheap)) == deepest(cheap.truth)
    stated = np.exp(cheap.log_prob.astype(np.float64))
    calibration = fit_calibration(wish.calibration, stated, right)
    sure = calibrated(calibration, stated)
    curve = cascade_curve(cheap, strong, sure)
    if wish.threshold is not None:
        threshold, told = wish.threshold, f"threshold {wish.threshold:g} by hand"
    else:
        point, told = _wished(curve, wish, costs)
        threshold = float(curve.threshold[point])
    floor = 0.0
    if wish.abstain:
        hits = deepest(answers(strong)) == deepest(strong.truth)
        chance = fit_calibration("isotonic", sure, hits)
        grid = np.unique(sure)
        enough = calibrated(chance, grid) >= wish.abstain
        floor = float(grid[np.argmax(enough)]) if enough.any() else NEVER
        told += f", left to people below a chance of {wish.abstain:g}"
    where = f"{fitted}, {len(kept):,} rows; {told}"
    return Cascade(runs, calibration, threshold, floor, costs, where)


def _wished(curve: Curve, wish: Wish, costs: tuple[float, float]) -> tuple[int, str]:
    """Point of the curve, and the wish in words."""
    if wish.cost is None:
        loss = wish.quality or 0.0
        told = f"at most {loss:g} points of hF1 below the strong model"
        return within_quality(curve, loss / 100), told
    if not np.isfinite(costs).all():
        raise CatalogueError(
            "--cost: what a product costs is not known, as an encoder is not at hand:"
            " give --costs=CHEAP,STRONG in milliseconds"
        )
    point = within_cost(curve, costs, wish.cost)
    if point is None:
        raise CatalogueError(
            f"--cost={wish.cost:g}: the cheap stage alone takes"
            f" {mean_cost(0.0, costs):.2f} ms a product here"
        )
    return point, f"at most {wish.cost:g} ms a product"


def read_cascade(folder: Path) -> Cascade:
    """What a cascade that was fitted before left in its folder.

    Raises:
      CatalogueError: nothing, or of another format.
    """
    path = folder / FILE
    try:
        found = json.loads(path.read_text())
        if found.pop("format") != FORMAT:
            raise ValueError("another format")
        names = ("runs", "costs", "versions")
        pairs = {name: tuple(found.pop(name)) for name in names}
        return Cascade(**found, **pairs)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CatalogueError(f"{path}: no cascade to read: {error}") from None


def write_cascade(cascade: Cascade, folder: Path) -> None:
    """`cascade.json`, for `read_cascade`."""
    text = json.dumps({"format": FORMAT, **cascade._asdict()}, indent=1)
    write_atomically(folder / FILE, text + "\n")
