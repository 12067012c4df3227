"""Figures of a run as PNG files; colours stay apart for colour-blind readers."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hsjax.atomic import finished
from hsjax.evaluation.curve_lines import TERMS
from hsjax.evaluation.measures import answers, calibrated_rows
from hsjax.evaluation.predictions import Predictions
from hsjax.evaluation.reliability import BINS, bin_gaps, calibration_error

# Okabe & Ito 2008, https://jfly.uni-koeln.de/color/
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
PURPLE, SKY, AMBER, GREY = "#CC79A7", "#56B4E9", "#E69F00", "#555555"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY)
MARKERS = "osD^vP"
DASHES = ("-", "--", "-.", ":", "--", "-.")
BIN_ROWS = 20  # fewer rows say little about a share


def save_figure(figure: Figure, path: Path | str) -> None:
    """A PNG file, whole or as it was before."""
    with finished(path) as partial:
        figure.savefig(partial, dpi=130, format="png")


def plot_curves(
    rows: Sequence[Mapping], path: Path | str, *, best_step: int | None = None
) -> None:
    """Losses with the gap between training and validation, and validation metrics.

    The contrastive loss has no gap drawn: it grows with the number of negatives in a
    batch, and batches of training and of validation differ in size.

    Args:
      rows: of `metrics.jsonl`: `step` and any of `train/...`, `val/...`.
      best_step: is marked (default: the step of the lowest `val/loss`).
    """
    found = {key.partition("/")[2] for row in rows for key in row}
    terms = [name for name in TERMS if name in found]
    figure = Figure(figsize=(5.5 * (len(terms) + 1), 4.2), layout="constrained")
    panels = figure.subplots(1, len(terms) + 1, squeeze=False)[0]
    for axes, term in zip(panels, terms, strict=False):
        _losses(axes, rows, term)
    _metric_lines(panels[-1], rows)
    steps, loss = _series(rows, "val/loss")
    if best_step is None and len(steps):
        best_step = int(steps[np.argmin(loss)])
    for axes in panels:
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        if best_step is not None:
            label = f"best, step {best_step:,}"
            axes.axvline(best_step, color=GREY, linestyle=":", label=label)
        _finish(axes)
    save_figure(figure, path)


def plot_reliability(predictions: Predictions, path: Path | str) -> None:
    """Per level: stated probability against accuracy, in bins of equal mass.

    Below 300 rows the bins are fewer, so that each holds 20; the ECE of the title is
    that of the report, which always has 15.
    """
    p, levels = predictions, predictions.num_levels
    figure = Figure(figsize=(3.6 * levels, 3.9), layout="constrained")
    for level, axes in enumerate(figure.subplots(1, levels, squeeze=False)[0]):
        rows = calibrated_rows(p, level)
        right = (answers(p)[:, level] == p.truth[:, level])[rows]
        stated, ones = p.prob[rows, level], np.ones((len(rows), 1))
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="calibrated")
        title = f"level {level + 1}"
        if len(rows):
            bins = min(BINS, max(1, len(rows) // BIN_ROWS))
            sums = bin_gaps(stated, right, ones, bins=bins)
            confidence, hits, mass = (values[0][sums[2][0] > 0] for values in sums)
            x, y = confidence / mass, hits / mass
            axes.fill_between(x, x, y, color=ORANGE, alpha=0.25, linewidth=0)
            axes.plot(x, y, color=BLUE, marker="o", markersize=4, label="measured")
            title += f": ECE {100 * calibration_error(stated, right, ones)[0]:.1f} %"
        else:
            title += ": no rows"
        limits = (-0.02, 1.02)  # whole markers at 0 and 1
        axes.set(title=title, xlim=limits, ylim=limits, aspect="equal")
        axes.set(xlabel="stated probability", ylabel="share that is right")
        _finish(axes)
    save_figure(figure, path)


def plot_confusion(
    predictions: Predictions, path: Path | str, *, limit: int = 20
) -> None:
    """Confusion at the finest level that has labels, rows in % of the true class.

    More than `limit` classes are too many to read: those with the most mistakes are
    kept, in the order of their codes, and the others joined.
    """
    level = max(
        np.flatnonzero((predictions.truth != "").any(axis=0)).tolist(), default=0
    )
    truth = predictions.truth[:, level]
    answer = answers(predictions)[:, level][truth != ""]
    truth = truth[truth != ""]
    classes, support = np.unique(truth, return_counts=True)
    wrong = truth != answer
    mistakes = Counter([*truth[wrong].tolist(), *answer[wrong].tolist()])
    missed = np.array([mistakes[code] for code in classes.tolist()])
    shown = sorted(classes[np.lexsort((-support, -missed))][:limit].tolist())
    index = {code: i for i, code in enumerate(shown)}
    counts = np.zeros((len(shown) + 1, len(shown) + 1))
    for t, a in zip(truth.tolist(), answer.tolist(), strict=True):
        counts[index.get(t, len(shown)), index.get(a, len(shown))] += 1
    kept = (counts.sum(axis=0) + counts.sum(axis=1)) > 0
    counts, ticks = counts[kept][:, kept], np.array([*shown, "other"])[kept]
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.8 + 0.42 * len(ticks)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    for (row, column), value in np.ndenumerate(share):
        if counts[row, column]:
            colour = "black" if value < 55 else "white"
            text = {"ha": "center", "va": "center", "fontsize": 7, "color": colour}
            axes.text(column, row, f"{value:.0f}" if value >= 0.5 else "<1", **text)
    labels = [code if len(code) <= 24 else f"…{code[-23:]}" for code in ticks.tolist()]
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    title = f"level {level + 1}, % of the truth"
    if len(classes) > limit:
        title += f"; {limit} of {len(classes)} classes, those with most mistakes"
    axes.set(xlabel="answer", ylabel="truth", title=title)
    figure.colorbar(image, ax=axes, shrink=0.8)
    save_figure(figure, path)


def _losses(axes: Axes, rows: Sequence[Mapping], term: str) -> None:
    train, validation = (_series(rows, f"{part}/{term}") for part in ("train", "val"))
    if len(train[0]):
        smooth = _smooth(train[1])
        axes.plot(*train, color=SKY, linewidth=0.8, alpha=0.6)
        axes.plot(train[0], smooth, color=BLUE, linewidth=1.8, label="train")
    if len(validation[0]):
        style = {"color": ORANGE, "linewidth": 1.8, "marker": "s", "markersize": 4}
        axes.plot(*validation, label="validation", **style)
    comparable = term != "contrastive"
    if comparable and len(train[0]) and len(validation[0]):
        _gap(axes, *validation, below=np.interp(validation[0], train[0], smooth))
    note = "" if comparable else ", other negatives in validation"
    axes.set(title=f"{term} loss{note}", ylabel="loss")


def _gap(axes: Axes, steps: np.ndarray, above: np.ndarray, *, below: np.ndarray):
    """The area in which validation lies above training, if there is any."""
    where = above > below
    if where.any():
        label = "gap: validation above training"
        area = {"color": ORANGE, "alpha": 0.15, "linewidth": 0, "label": label}
        area |= {"where": where, "interpolate": True}
        axes.fill_between(steps, below, above, **area)


def _metric_lines(axes: Axes, rows: Sequence[Mapping]) -> None:
    found = {key for row in rows for key in row}
    wanted = sorted(n for n in found if n.startswith("val/level") and _is_accuracy(n))
    wanted += ["val/hierarchical/f1"] if "val/hierarchical/f1" in found else []
    # wide lines first, broken ones above them: equal ones do not hide each other
    widths = np.linspace(3.6, 1.4, max(len(wanted), 1)).tolist()
    styles = zip(SERIES, MARKERS, DASHES, widths, strict=False)
    lowest = 1.0
    for name, (colour, marker, dashes, width) in zip(wanted, styles, strict=False):
        title = name.removeprefix("val/").replace("level", "level ").replace("/", " ")
        line = {"color": colour, "linestyle": dashes, "linewidth": width}
        mark = {"marker": marker, "markersize": 2 * width + 1}
        steps, shares = _series(rows, name)
        axes.plot(steps, shares, label=title, **line, **mark)
        lowest = min([lowest, *shares])  # a level without labels has none
    # differences near 1 are what is looked for; a tenth below the lowest is room enough
    low = max(0.0, np.floor(10 * lowest - 1) / 10)
    axes.set(title="validation", ylabel="share", ylim=(low, 1 + 0.02 * (1 - low)))


def _is_accuracy(name: str) -> bool:
    return name.endswith("/accuracy")


def _series(rows: Iterable[Mapping], name: str) -> tuple[np.ndarray, np.ndarray]:
    pairs = [(r["step"], r[name]) for r in rows if r.get(name) is not None]
    table = np.array(pairs, np.float64).reshape(-1, 2)
    table = table[np.isfinite(table).all(axis=1)]
    return table[:, 0], table[:, 1]


def _smooth(values: np.ndarray) -> np.ndarray:
    """Centred running mean over a twentieth of the points."""
    half = len(values) // 40
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


def _finish(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, handlelength=3)
