"""A threshold between two models (Paper B, section VI): wished for, fitted, kept."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer

from hsjax.atomic import write_atomically
from hsjax.data.records import CatalogueError
from hsjax.data.run_stores import places_of_each
from hsjax.evaluation.calibration import calibrated, fit_calibration, least_stated
from hsjax.evaluation.cascade_curve import (
    METRICS,
    NEVER,
    Curve,
    Reached,
    cascade_curve,
    mean_cost,
    merged,
    reached,
    within_cost,
    within_quality,
)
from hsjax.evaluation.cascade_report import PartCost
from hsjax.evaluation.measures import right_paths
from hsjax.evaluation.predictions import Predictions
from hsjax.inference.predict import run_config
from hsjax.taxonomy import Taxonomy
from hsjax.train.config import gives_classes, read_config

FILE = "cascade.json"
FORMAT = 2


class Wish(NamedTuple):
    """How a threshold is to be found; exactly one of the first three.

    Attributes:
      quality: points of the metric that may be lost against the strong model.
      cost: milliseconds that a product may cost in the mean.
      threshold: calibrated, by hand.
      abstain: a product that would be sent on is left to people instead where the
        strong model is right with a smaller probability; 0 = never. Threshold and
        curve are those without it.
      calibration: of the cheap model's confidence.
      metric: of `METRICS`, that `quality` and `cost` are wished for in.
    """

    quality: float | None = None
    cost: float | None = None
    threshold: float | None = None
    abstain: float = 0.0
    calibration: str = "temperature"
    metric: str = "hierarchical_f1"


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
    sure = stated(cheap)
    calibration = fit_calibration(wish.calibration, sure, right_paths(cheap))
    if wish.threshold is not None:
        least = least_stated(calibration, wish.threshold)
        threshold = NEVER if least is None else least
        told = f"threshold {wish.threshold:g} by hand"
    else:
        curve = cascade_curve(cheap, strong, sure)
        point, told = _wished(curve, wish, costs)
        threshold = float(curve.threshold[point])
    floor = 0.0
    if wish.abstain:
        chance = fit_calibration("isotonic", sure, right_paths(strong))
        grid = np.unique(sure)
        enough = calibrated(chance, grid) >= wish.abstain
        floor = float(grid[np.argmax(enough)]) if enough.any() else NEVER
        told += f", left to people below a chance of {wish.abstain:g}"
    where = f"{fitted}, {len(kept):,} rows"
    found = Cascade(runs, calibration, threshold, floor, costs, told, where)
    sent, left = found.routed(cheap)
    routes = {"escalated": sent, "abstained": left, "present": {}}
    both = merged(cheap, strong.select(sent), **routes)
    return found._replace(reached=reached(both, strong))


def _wished(curve: Curve, wish: Wish, costs: tuple[float, float]) -> tuple[int, str]:
    """Point of the curve, and the wish in words."""
    name = METRICS[wish.metric]
    if wish.cost is None:
        loss = wish.quality or 0.0
        told = f"at most {loss:g} points of {name} below the strong model"
        return within_quality(curve, loss / 100, wish.metric), told
    if not np.isfinite(costs).all():
        raise CatalogueError(
            "--cost: what a product costs is not known, as an encoder is not at hand:"
            " give --costs=CHEAP,STRONG in milliseconds"
        )
    point = within_cost(curve, costs, wish.cost, wish.metric)
    if point is None:
        raise CatalogueError(
            f"--cost={wish.cost:g}: the cheap stage alone takes"
            f" {mean_cost(0.0, costs):.2f} ms a product here"
        )
    return point, f"the best {name} for at most {wish.cost:g} ms a product"


def read_cascade(folder: Path) -> Cascade:
    """What a cascade that was fitted before left in its folder.

    Raises:
      CatalogueError: nothing, or of another format.
    """
    path = folder / FILE
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
