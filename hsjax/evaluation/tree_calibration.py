"""What makes the probabilities of a tree honest, and what they are good for then."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hsjax.data.records import CatalogueError
from hsjax.evaluation.calibration import calibrated, least_stated
from hsjax.evaluation.cascade_curve import NEVER
from hsjax.evaluation.certainty import Certainty
from hsjax.evaluation.predictions import Predictions

KINDS = ("temperature", "isotonic")


class TreeCalibration(NamedTuple):
    """A calibration of one trained run.

    Attributes:
      kind: of `KINDS`.
      temperature: of each level, or one alone: see `tempered`.
      maps: isotonic: of each level, for `calibrated`; () otherwise.
      certainty: of a row of each group fitted, at these temperatures.
      sets: coverage -> least probability of a leaf in a set, see `leaf_set`.
      step, config, parameters: checkpoint that it was fitted to, and hashes of what
        it was trained with and of what it has learnt.
      fitted: on what, in words; rows: how many.
    """

    kind: str
    temperature: tuple[float, ...]
    maps: tuple[Mapping, ...]
    certainty: Certainty
    sets: Mapping[str, float]
    step: int
    config: str
    parameters: str
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
                f"--precision={precision:g}: the {self.certainty.rows:,} groups of rows"
                " that it was fitted on do not show that any answer is right so often:"
                " ask for less, or calibrate on more rows"
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
