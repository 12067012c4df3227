"""A calibration of a run's tree distribution, as it is kept beside the model."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hsjax.atomic import write_atomically
from hsjax.data.records import CatalogueError
from hsjax.evaluation.calibration import calibrated, least_stated
from hsjax.evaluation.cascade_curve import NEVER
from hsjax.evaluation.certainty import Certainty
from hsjax.evaluation.predictions import Predictions

FILE = "calibration.json"  # of a workdir
KINDS = ("temperature", "isotonic")
OWN, NONE = "own", "none"  # in place of a file
FORMAT = 1


class TreeCalibration(NamedTuple):
    """What makes stated probabilities honest, and what they are good for then.

    Attributes:
      kind: of `KINDS`.
      temperature: of each level, or one alone: see `tempered`.
      maps: isotonic: of each level, for `calibrated`; () otherwise.
      certainty: of the rows fitted, at these temperatures.
      sets: coverage -> least probability of a leaf in a set, see `leaf_set`.
      step, config: checkpoint and hash of the config it was fitted with.
      fitted: on what, in words; rows: how many.
    """

    kind: str
    temperature: tuple[float, ...]
    maps: tuple[Mapping, ...]
    certainty: Certainty
    sets: Mapping[str, float]
    step: int
    config: str
    fitted: str
    rows: int

    def least_stated(self, confidence: float) -> Float[np.ndarray, "L"] | float:
        """What has to be stated, at the temperatures, to be as probable as this."""
        if not self.maps:
            return confidence
        found = [least_stated(of, confidence) for of in self.maps]
        return np.array([NEVER if x is None else max(x, 1e-9) for x in found])

    def mapped(self, predictions: Predictions) -> Predictions:
        """Probabilities of answered nodes through the maps, none above its parent's.

        The whole distribution, of which the best paths are, stays the tempered one.
        """
        if not self.maps:
            return predictions
        p, columns = predictions, []
        for level, of in enumerate(self.maps):
            columns.append(calibrated(of, p.prob[:, level]))
        found = np.minimum.accumulate(np.stack(columns, axis=1), axis=1)
        return replace(p, prob=np.where(p.prob > 0, found, 0.0).astype(np.float32))

    def threshold(self, precision: float) -> float:
        """The loosest one with this precision, see `Certainty.least`.

        Raises:
          CatalogueError: no threshold has it.
        """
        found = self.certainty.least(precision)
        if found is None:
            raise CatalogueError(
                f"--precision={precision:g}: the {self.rows:,} rows that it was fitted"
                " on do not show that any answer is right so often: ask for less, or"
                " calibrate on more rows"
            )
        return found

    def set_least(self, coverage: float) -> float:
        """The least probability of a leaf in a set.

        Raises:
          CatalogueError: sets of this coverage were not fitted.
        """
        known = {float(name): least for name, least in self.sets.items()}
        if coverage not in known:
            told = ", ".join(f"{x:g}" for x in known) or "none, as no label is a leaf"
            raise CatalogueError(
                f"--coverage={coverage:g}: sets were fitted for {told}"
            )
        return known[coverage]


def kept_hash(workdir: Path) -> str:
    """Of the config of a run, wherever its stores lie now."""
    return json.loads((workdir / "config.json").read_text())["hash"]


def write_calibration(calibration: TreeCalibration, folder: Path) -> None:
    """`calibration.json`, for `read_calibration`."""
    told = {"format": FORMAT, **calibration._asdict()}
    told["certainty"] = {
        name: x.tolist() if isinstance(x, np.ndarray) else x
        for name, x in calibration.certainty._asdict().items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / FILE, json.dumps(told, indent=1) + "\n")


def calibration_path(workdir: Path, asked: Path | str) -> Path | None:
    """The file that is meant; None = probabilities as they are.

    Args:
      asked: a file; `none`; `own`, that of the workdir; '' = that one if it is there.

    Raises:
      CatalogueError: there is no such file.
    """
    if str(asked) == NONE:
        return None
    path = workdir / FILE if str(asked) in ("", OWN) else Path(asked)
    if not path.is_file():
        if not str(asked):
            return None
        made = f"python -m hsjax.calibrate --run={workdir}"
        raise CatalogueError(f"--calibration={asked}: no file {path}; {made} makes one")
    return path


def kept_calibration(
    workdir: Path, asked: Path | str, step: int
) -> TreeCalibration | None:
    """The calibration that is meant, see `calibration_path`.

    Args:
      step: of the best checkpoint.

    Raises:
      CatalogueError: no calibration, or one of another model or training.
    """
    path = calibration_path(workdir, asked)
    if path is None:
        return None
    try:
        found = json.loads(path.read_text())
        if found.pop("format") != FORMAT:
            raise ValueError("of another version of hsjax")
        table = found.pop("certainty")
        rows = table.pop("rows")
        arrays = {name: np.array(x) for name, x in table.items()}
        own = {name: tuple(found.pop(name)) for name in ("temperature", "maps")}
        own["certainty"] = Certainty(**arrays, rows=rows)
        calibration = TreeCalibration(**found, **own)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CatalogueError(f"{path}: no calibration to read: {error}") from None
    if (calibration.step, calibration.config) != (step, kept_hash(workdir)):
        raise CatalogueError(
            f"{path} was fitted to another model (step {calibration.step:,}, config"
            f" {calibration.config[:12]}) than {workdir} is now (step {step:,}, config"
            f" {kept_hash(workdir)[:12]}): fit it again by python -m hsjax.calibrate"
            f" --run={workdir}, or give --calibration=none"
        )
    return calibration
