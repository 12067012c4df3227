"""What tuning buys: the expected result of the best of n trials, chosen in validation.

Dodge et al. (2019), Show Your Work, https://arxiv.org/abs/1909.03004: a model that was
tuned longer wins for that alone, so two models are compared at equal numbers of trials.
"""

from collections.abc import Mapping, Sequence
from math import comb
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hsjax.data.records import CatalogueError
from hsjax.evaluation.comparison_report import beside, write_table
from hsjax.evaluation.comparison_tables import scale_of
from hsjax.evaluation.markdown import DASH, table
from hsjax.evaluation.panels import Panels, line_style

COLUMNS = ("model", "trials", "metric", "expected")


class Trial(NamedTuple):
    """One setting that was tried.

    Attributes:
      validation: what chooses, higher is better.
      metrics: of the part that is reported.
    """

    validation: float
    metrics: Mapping[str, float]


def expected_of_best(
    validation: Float[np.ndarray, "N"], result: Float[np.ndarray, "N"]
) -> Float[np.ndarray, "N"]:
    """Mean result of the best in validation of n = 1 .. N trials, drawn without return.

    The trial of rank i (1 = worst in validation) is the best of n with probability
    C(i - 1, n - 1) / C(N, n).

    >>> expected_of_best(np.array([0.1, 0.3, 0.2]), np.array([1.0, 2.0, 3.0]))
    array([2.        , 2.33333333, 2.        ])
    """
    ordered, size = result[np.argsort(validation, kind="stable")], len(result)
    chances = np.array(
        [
            [comb(i, n - 1) / comb(size, n) for i in range(size)]
            for n in range(1, size + 1)
        ]
    )
    return chances @ ordered


def write_budget(
    models: Mapping[str, Sequence[Trial]],
    stem: Path,
    *,
    title: str,
    headings: Mapping[str, str],
) -> str:
    """Writes STEM.md, .csv and .png, and returns the Markdown.

    Args:
      models: name -> its trials.
      headings: metric -> what heads its table and its panel.
    """
    found = {
        name: {metric: _expected(trials, metric) for metric in headings}
        for name, trials in models.items()
    }
    text = _markdown(found, title=title, headings=headings)
    lines = [
        [name, n, metric, value]
        for name, of in found.items()
        for metric, values in of.items()
        for n, value in enumerate(values.tolist(), 1)
    ]
    write_table(stem, text, COLUMNS, lines)
    _plot(found, beside(stem, "png"), headings)
    return text


def _expected(trials: Sequence[Trial], metric: str) -> Float[np.ndarray, "N"]:
    values = [trial.metrics.get(metric) for trial in trials]
    if None in values:
        raise CatalogueError(f"a trial has no {metric}: show one that all trials have")
    return expected_of_best(np.array([t.validation for t in trials]), np.array(values))


def _markdown(found, *, title: str, headings: Mapping[str, str]) -> str:
    most = max(len(next(iter(of.values()))) for of in found.values())
    parts = [f"# {title}"]
    for metric, heading in headings.items():
        rows = []
        for name, of in found.items():
            cells = [f"{scale_of(metric) * x:.2f}" for x in of[metric].tolist()]
            rows.append([name, *cells, *[DASH] * (most - len(cells))])
        parts += [
            f"## {heading}",
            table(["trials", *map(str, range(1, most + 1))], rows),
        ]
    parts.append(
        "Expected figure of the trial that is best in validation, of so many trials"
        " drawn from those that were run; shares in %."
    )
    return "\n\n".join(parts) + "\n"


def _plot(found, path: Path, headings: Mapping[str, str]) -> None:
    panels = Panels(len(headings))
    for axes, (metric, heading) in zip(panels.axes, headings.items(), strict=True):
        for number, (name, of) in enumerate(found.items()):
            values = scale_of(metric) * of[metric]
            trials = range(1, len(values) + 1)
            axes.plot(trials, values, label=name, markersize=5, **line_style(number))
        axes.set_title(heading, fontsize=10)
        axes.set_xlabel("trials")
        axes.grid(alpha=0.3)
    panels.save(path, legend="lower center")
