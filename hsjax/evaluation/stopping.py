"""Where a model may stop: hP against hR as the confidence that it needs grows.

Two models that stop at different depths differ in hP and hR without one being better.
At an equal hP their hR can be compared (B9 of Paper B's open points).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from hsjax.evaluation.comparison_report import beside, write_table
from hsjax.evaluation.intervals import seed_interval, share_bounds, told_bounds
from hsjax.evaluation.markdown import DASH, table
from hsjax.evaluation.measures import answers, hierarchical_f1, share
from hsjax.evaluation.metrics import labelled
from hsjax.evaluation.panels import Panels, line_style
from hsjax.evaluation.predictions import Predictions

Curve = tuple[Float[np.ndarray, "K"], Float[np.ndarray, "K"], Float[np.ndarray, "K"]]

# least probability of an answered node; 0 = the whole path
THRESHOLDS = np.concatenate([np.linspace(0, 0.99, 100), 1 - np.logspace(-2, -5, 31)])
COLUMNS = ("row", "threshold", "runs", "precision", "recall", "f1")


def stopping_curve(
    p: Predictions, thresholds: Float[np.ndarray, "K"] = THRESHOLDS
) -> Curve:
    """(hP, hR, hF1) of paths that end where the next node is less probable.

    hP is nan and hF1 is 0 where nothing is answered.
    """
    p = labelled(p)
    answer, truth = answers(p), p.truth
    given, right = answer != "", (answer == truth) & (truth != "")
    size = (truth != "").sum()
    # sums over answered nodes whose probability is t or more
    order = np.argsort(p.prob[given], kind="stable")
    probs, hits = p.prob[given][order], right[given][order]
    first = np.searchsorted(probs, thresholds, side="left")
    left = np.append(np.cumsum(hits[::-1])[::-1], 0)[first]
    count = len(probs) - first
    whole = np.full_like(count, size)
    f1 = share(*hierarchical_f1(left, count, whole))
    return share(left, count), share(left, whole), f1


def recall_at(precision, recall, wanted: float) -> float:
    """The largest hR with an hP of at least `wanted`; nan = there is none.

    >>> recall_at(np.array([0.8, 0.9, 0.95]), np.array([0.9, 0.7, 0.2]), 0.9)
    0.7
    """
    enough = precision >= wanted
    return float(recall[enough].max()) if enough.any() else np.nan


def write_stopping(
    rows: Mapping[str, Sequence[Predictions]],
    stem: Path,
    *,
    title: str,
    targets: Sequence[float],
) -> str:
    """Writes STEM.md, STEM.csv and STEM.png, and returns the Markdown.

    Args:
      rows: row -> its runs, one per seed.
      targets: values of hP, at which hR is told.
    """
    curves = {name: [stopping_curve(p) for p in of] for name, of in rows.items() if of}
    text = stopping_markdown(curves, title=title, targets=targets)
    write_table(stem, text, COLUMNS, _csv_rows(curves))
    _plot(curves, beside(stem, "png"))
    return text


def stopping_markdown(curves: Mapping, *, title: str, targets: Sequence[float]) -> str:
    """Whole paths, the best hF1 of all thresholds, and hR at equal hP."""
    head = ["row", "hP", "hR", "hF1", "best hF1", "at a threshold of"]
    head += [f"hR at hP {100 * x:g}" for x in targets]
    lines = []
    for name, of in curves.items():
        whole = [[x[0] for x in curve] for curve in of]
        f1 = [curve[2] for curve in of]
        best = [int(np.argmax(x)) for x in f1]
        cells = [_cell([w[0] for w in whole]), _cell([w[1] for w in whole])]
        cells += [_cell([x[0] for x in f1]), _cell([x.max() for x in f1])]
        cells.append(f"{np.mean([THRESHOLDS[i] for i in best]):.2f}")
        cells += [_cell([recall_at(p, r, x) for p, r, _ in of]) for x in targets]
        lines.append([name, *cells])
    runs = {len(of) for of in curves.values()}
    note = (
        "Whole paths first; then paths that end above the first node whose probability"
        " is below a threshold. Means over the seeds; shares are in %."
        f"{told_bounds(runs)} A dash: no threshold reaches that hP in every run."
    )
    return f"# {title}\n\n{table(head, lines)}\n\n{note}\n"


def _cell(values: Sequence[float]) -> str:
    if not np.isfinite(values).all():
        return DASH
    mean, low, high = (100 * x for x in share_bounds(seed_interval(values)))
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]" if np.isfinite(low) else f"{mean:.1f}"


def _means(of: Sequence[Curve]) -> Curve:
    return tuple(np.mean(values, axis=0) for values in zip(*of, strict=True))


def _csv_rows(curves: Mapping):
    for name, of in curves.items():
        for t, p, r, f1 in zip(THRESHOLDS, *_means(of), strict=True):
            yield [name, f"{t:.6g}", len(of), p, r, f1]


def _plot(curves: Mapping, path: Path) -> None:
    """hR to the right, hP upwards; a marker where whole paths are answered."""
    panels = Panels(1, panel=(5.6, 4.2))
    (axes,) = panels.axes
    for number, (name, of) in enumerate(curves.items()):
        precision, recall, _ = _means(of)
        style = line_style(number)
        marker = style.pop("marker")
        axes.plot(100 * recall, 100 * precision, label=name, **style)
        end = {"marker": marker, "color": style["color"], "linestyle": ""}
        axes.plot(100 * recall[0], 100 * precision[0], **end)
    axes.set(xlabel="hR, %", ylabel="hP, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    panels.save(path)
