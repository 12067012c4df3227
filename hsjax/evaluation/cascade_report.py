"""What a cascade is worth: a table, a curve and a plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from hsjax.data.cells import write_csv
from hsjax.evaluation.calibration import calibrated
from hsjax.evaluation.cascade_curve import METRICS, NEVER, Curve, Reached, mean_cost
from hsjax.evaluation.markdown import DASH, signed, table
from hsjax.evaluation.plots import BLUE, GREY, ORANGE, save_figure

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)  # escalated, of a table's lines
DIGITS = range(4, 17)  # decimals of a threshold: as few as tell it from others
COLUMNS = ("threshold", "stated", "escalated", "cost_ms", "hierarchical_f1", "accuracy")
AHEAD = 0.005  # of hF1: more than two models together mostly gain
ANSWERED = ", what is answered"


class PartCost(NamedTuple):
    """What a part of a stage costs, measured.

    Attributes:
      stage: 0 = cheap, 1 = strong.
      part: in words.
      ms: of a product, in the median; nan = not measured, `part` says why.
      low, high: quartiles.
      noisy: did the turns disagree, or was other work under way?
    """

    stage: int
    part: str
    ms: float
    low: float
    high: float
    noisy: bool = False


def costs_table(
    parts: Sequence[PartCost], costs: Sequence[float], names: Sequence[str]
) -> str:
    """What each stage costs, and what is counted; a sentence where a user gave it.

    Args:
      costs: milliseconds of a product in each stage; names: of the runs.
    """
    if not parts:
        told = " and ".join(_cost(x) for x in costs)
        return f"A product costs {told} ms in the stages, as --costs says."
    lines = []
    for stage, name in enumerate(names):
        own = [x for x in parts if x.stage == stage]
        for x in own:
            range_ = f"{x.low:.2f} to {x.high:.2f}" if x.high > 0 else DASH
            range_ += ", noisy" if x.noisy else ""
            lines.append([name, x.part, _cost(x.ms), range_])
        if len(own) > 1:
            lines.append([name, "**in all**", _cost(costs[stage]), ""])
    told = (
        "Milliseconds of a product in a full batch: the median and the quartiles of"
        " several turns. Both stages are timed alike, from texts and encoded pictures"
        " to a table of answers, as if no cached feature was at hand. What the cheap"
        " stage has encoded is not encoded again. Reading the file and loading the runs"
        " are not counted."
    )
    if any(x.noisy for x in parts):
        told += " **Noisy**: other work disturbed; these times are not to be quoted."
    return f"{table(['stage', 'part', 'ms', 'quartiles'], lines)}\n\n{told}"


def reached_table(lines: Mapping[str, Reached], costs: Sequence[float]) -> str:
    """What the cascade reached where it was fitted, and on the rows that it answers.

    Args:
      lines: name -> what was reached; with a line more where some is left to people.
      costs: milliseconds of a product in each stage.
    """
    rows = []
    for name, x in lines.items():
        of_strong = (x.f1 - x.strong_f1, x.accuracy - x.strong_accuracy)
        shares = (x.escalated, x.abstained, x.f1, x.accuracy)
        rows.append(
            [
                name,
                x.rows,
                *map(_percent, shares),
                *map(_points, of_strong),
                _cost(mean_cost(x.escalated, costs)),
            ]
        )
        if x.abstained and np.isfinite(x.answered_f1):
            figures = map(_percent, (x.answered_f1, x.answered_accuracy))
            count = x.rows - round(x.abstained * x.rows)
            rows.append([name + ANSWERED, count, "", "", *figures, "", "", ""])
    head = ["", "rows", "sent on, %", "left to people, %", "hF1", "accuracy"]
    head += ["hF1 − strong", "accuracy − strong", "ms a product"]
    text = table(head, rows)
    if any(x.f1 - x.strong_f1 > AHEAD for x in lines.values()):
        text += (
            "\n\nThe cascade is ahead of its strong run. If the curve is as high where"
            " nothing is sent on, the cheap run is the better one, and needs no other."
        )
    return text


def _percent(share: float) -> str:
    return f"{100 * share:.1f}" if np.isfinite(share) else DASH


def _points(share: float) -> str:
    return signed(100 * share)


def cascade_table(
    curve: Curve,
    chosen: int,
    costs: Sequence[float],
    *,
    fitted: float,
    calibration: Mapping,
) -> str:
    """Some points of the curve, and the one that was fitted.

    Args:
      curve: of the scored rows; chosen: point that does what `fitted` does, which lies
        between two confidences of other rows.
      costs: milliseconds of a product in each stage.
      calibration: of the probabilities that `curve` and `fitted` go by.
    """
    shares = {int(np.argmin(np.abs(curve.escalated - s))) for s in SHARES}
    points = sorted(shares | {chosen})
    stated = [fitted if i == chosen else float(curve.threshold[i]) for i in points]
    confidence = told_thresholds(shown(calibration, np.array(stated)).tolist())
    lines = [
        [
            f"{'**fitted** ' if i == chosen else ''}{sure}",
            own,
            *(f"{100 * x[i]:.1f}" for x in (curve.escalated, curve.f1, curve.accuracy)),
            _cost(mean_cost(curve.escalated[i], costs)),
        ]
        for i, sure, own in zip(
            points, confidence, told_thresholds(stated), strict=True
        )
    ]
    head = ["sent on below", "as stated", "sent on, %"]
    head += ["hF1", "accuracy", "ms a product"]
    told = (
        "The first line is the cheap model alone, the last the strong one behind it."
        " Products are sent on in the order of what the cheap model states;"
        " `sent on below` is that probability, calibrated. What is left to people is"
        " not in these lines."
    )
    return f"{table(head, lines)}\n\n{told}"


def shown(
    calibration: Mapping, stated: Float[np.ndarray, "N"]
) -> Float[np.ndarray, "N"]:
    """Thresholds of stated probabilities, calibrated; `NEVER` stays."""
    return np.where(stated == NEVER, NEVER, calibrated(calibration, stated))


def told_thresholds(values: Sequence[float]) -> list[str]:
    """Each with so many decimals that it is no other of them, and neither 0 nor 1.

    >>> told_thresholds([0.25931, 0.99997, 0.99998, 2.0])
    ['0.2593', '0.99997', '0.99998', 'any']
    """
    known, found = {0.0, 1.0, *values}, []
    for value in values:
        others = [x for x in known if x != value]
        texts = (
            f"{value:.{digits}f}"
            for digits in DIGITS
            if all(f"{x:.{digits}f}" != f"{value:.{digits}f}" for x in others)
        )
        found.append("any" if value == NEVER else next(texts, repr(value)))
    return found


def _cost(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else DASH


def write_curve(
    curve: Curve, costs: Sequence[float], path: Path, *, calibration: Mapping
) -> None:
    """Every point as CSV, shares from 0 to 1; `threshold` is `stated`, calibrated."""
    cost, stated = mean_cost(curve.escalated, costs), curve.threshold
    columns = (shown(calibration, stated), stated, curve.escalated, cost)
    columns += (curve.f1, curve.accuracy)
    write_csv(path, COLUMNS, zip(*(x.tolist() for x in columns), strict=True))


def plot_cascade(
    curve: Curve, chosen: int, costs: Sequence[float], path: Path, *, metric: str
) -> None:
    """The metric that was wished for against the mean cost of a product, or without
    costs against the share sent on."""
    figures = 100 * curve.of(metric)
    known = all(np.isfinite(costs))
    x = mean_cost(curve.escalated, costs) if known else 100 * curve.escalated
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(x, figures, color=BLUE, label="cascade")
    for i, name, marker in ((0, "cheap alone", "s"), (-1, "strong behind it", "D")):
        axes.plot(x[i], figures[i], marker, color=GREY, label=name)
    axes.plot(x[chosen], figures[chosen], "o", color=ORANGE, label="fitted")
    axes.set_xlabel("ms a product" if known else "sent on, %")
    axes.set_ylabel(f"{METRICS[metric]}, %")
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)
