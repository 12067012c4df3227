"""What a report says of a cascade: wished for, reached, paid, and the whole curve."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hsjax.evaluation.cascade_curve import STAGES, cascade_curve, reached
from hsjax.evaluation.cascade_report import (
    cascade_table,
    costs_table,
    plot_cascade,
    reached_table,
    shown,
    told_thresholds,
    write_curve,
)
from hsjax.evaluation.markdown import signed, table
from hsjax.evaluation.paired import paired_difference
from hsjax.evaluation.predictions import Predictions
from hsjax.inference.cascade import Cascade, stated

COMPARED = {"hierarchical/f1": "hF1", "path/accuracy": "accuracy"}
WENT = ("answered by the cheap model", "sent on", "left to people")  # as `STAGES`


def told_cascade(
    names: Sequence[str],
    cascade: Cascade,
    answered: Predictions,
    strong: Predictions | None,
) -> str:
    """What was wished, where products went, what that reached, and what it costs.

    Args:
      names: of the runs.
      answered: of `merged`; strong: of the same rows, None = nothing is scored.
    """
    facts = {
        "cheap, strong": ", ".join(names),
        "wished for": cascade.wished,
        "fitted on": cascade.fitted,
        "sent on below a confidence of": _confidence(cascade, cascade.threshold),
    }
    if cascade.floor:
        least = min(cascade.floor, cascade.threshold)
        facts["left to people below a confidence of"] = _confidence(cascade, least)
        if cascade.floor >= cascade.threshold:
            facts["sent on below a confidence of"] = (
                "none: where the cheap model is not sure enough, the strong one is"
                " right too seldom"
            )
    stage = answered.stage.tolist()
    for name, value in zip(WENT, STAGES, strict=True):
        count = stage.count(value)
        facts[name] = f"{count:,} of {len(stage):,} ({100 * count / len(stage):.1f} %)"
    facts |= _against(answered, strong) if strong else {}
    lines = {"where it was fitted": cascade.reached}
    lines["these rows"] = reached(answered, strong)
    return "\n\n".join(
        [
            table(["", ""], [list(x) for x in facts.items()]),
            reached_table(lines, cascade.costs),
            costs_table(cascade.parts, cascade.costs, names),
        ]
    )


def _confidence(cascade: Cascade, threshold: float) -> str:
    """A threshold as people read it: calibrated, and as the cheap model states it."""
    (own,) = told_thresholds([threshold])
    calibrated = shown(cascade.calibration, np.array([threshold]))
    (sure,) = told_thresholds(calibrated.tolist())
    return sure if sure == own else f"{sure}, which it states as {own}"


def _against(answered: Predictions, strong: Predictions) -> dict[str, str]:
    """How much the cascade differs from the strong model on every row."""
    found = {}
    for name, gap in paired_difference(answered, strong, list(COMPARED)).items():
        value, low, high = (signed(100 * x) for x in gap)
        found[f"{COMPARED[name]}, cascade − strong"] = f"{value} [{low}, {high}]"
    return found


def draw_cascade(
    cheap: Predictions, strong: Predictions, cascade: Cascade, output: Path
) -> str:
    """`curve.csv` and `curve.png` of rows that both have answered, and a table."""
    kept = np.flatnonzero((cheap.truth != "").any(axis=1))
    cheap, strong = cheap.select(kept), strong.select(kept)
    curve, costs = cascade_curve(cheap, strong, stated(cheap)), cascade.costs
    metric = cascade.metric
    chosen = int(np.searchsorted(curve.threshold, cascade.threshold))
    chosen = min(chosen, len(curve.threshold) - 1)
    of = {"calibration": cascade.calibration}
    write_curve(curve, costs, output / "curve.csv", **of)
    plot_cascade(curve, chosen, costs, output / "curve.png", metric=metric)
    return cascade_table(curve, chosen, costs, fitted=cascade.threshold, **of)
