"""What a calibration has changed: tables, reliability plots, risk-coverage curves."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hsjax.atomic import write_atomically
from hsjax.evaluation.certainty import SURE, share_interval
from hsjax.evaluation.intervals import Interval, bootstrap
from hsjax.evaluation.judged import (
    FEWEST,
    certainty_of,
    drawn,
    label_loss,
    sets_cover,
)
from hsjax.evaluation.markdown import DASH, table
from hsjax.evaluation.measures import answers, calibrated_rows
from hsjax.evaluation.panels import Panels, line_style
from hsjax.evaluation.plots import plot_reliability
from hsjax.evaluation.predictions import Predictions
from hsjax.evaluation.reliability import BINS, calibration_error
from hsjax.evaluation.risk_coverage import Curve, area, risk_coverage
from hsjax.evaluation.tree_calibration import TreeCalibration
from hsjax.taxonomy import Taxonomy

PRECISIONS = (0.8, 0.9, 0.95, 0.99)
DRAWN = 200  # points of a curve that are written
ONCE = "Of each group of alike products one row is counted, drawn by its id."
CURVES = ("rows", "level", "calibrated", "coverage", "risk")


class Part(NamedTuple):
    """Labelled rows with the answers to them before and after.

    Attributes:
      name: fitted | held back; where: they are from.
    """

    name: str
    where: str
    before: Predictions
    after: Predictions

    def versions(self) -> dict[str, Predictions]:
        return {"before": self.before, "after": self.after}


def write_calibration_report(
    folder: Path,
    parts: Sequence[Part],
    tree: Taxonomy,
    known: TreeCalibration,
    *,
    title: str,
    resamples: int,
) -> str:
    """Writes report.md and what belongs to it, and returns its Markdown.

    Args:
      parts: fitted, and held back where there are others.
      resamples: of the intervals of an ECE, by groups.
    """
    sections = [f"# {title}", _told(known, parts)]
    for part in parts:
        rows = [_level_row(part, level, resamples) for level in range(tree.num_levels)]
        head = ["level", "rows", "ECE before", "ECE after", "NLL before", "NLL after"]
        head += ["AURC before", "AURC after"]
        sections.append(f"## {part.name.capitalize()}: {part.where}")
        sections.append(table(head, rows))
    sections += [_precisions(parts, tree, known), _sets(parts, tree, known)]
    text = "\n\n".join(sections) + "\n"
    for part in parts:
        for name, p in part.versions().items():
            stem = f"reliability_{part.name.replace(' ', '_')}_{name}"
            plot_reliability(p, folder / f"{stem}.png")
    _write_curves(parts, folder)
    write_atomically(folder / "report.md", text)
    return text


def _told(known: TreeCalibration, parts: Sequence[Part]) -> str:
    values = ", ".join(f"{t:.3f}" for t in known.temperature)
    per = "of the leaf logits" if len(known.temperature) == 1 else "per level"
    text = (
        f"Fitted on {known.rows:,} labelled rows ({known.fitted}). Temperature {per}:"
        f" {values}; above 1 the model was too sure. ECE in %: {BINS} bins of equal"
        " mass, with a 95 % interval over resampled groups. NLL: mean -log p(true"
        " node | its parent) at the temperatures. AURC in %: the mean error rate of the"
        " surest answers, over all shares that are answered."
    )
    if known.maps:
        text += (
            " Then the probability of an answered node goes through an isotonic map."
        )
    bare = [str(k) for k, of in enumerate(known.maps, 1) if of["kind"] == "none"]
    if bare:
        text += (
            f" Not at level {', '.join(bare)}, where fewer than {FEWEST} groups of rows"
            " are fitted, or all are right, or all wrong."
        )
    if len(parts) == 1:
        text += " No rows were held back: these figures flatter the calibration."
    return text


def _level_row(part: Part, level: int, resamples: int) -> list:
    cells = [level + 1, len(calibrated_rows(part.after, level))]
    both = (part.before, part.after)
    cells += [_percent(_error(p, level, resamples)) for p in both]
    cells += [f"{label_loss(p, level):.4f}" for p in both]
    cells += [f"{100 * area(level_curve(p, level)):.2f}" for p in both]
    return cells


def _error(p: Predictions, level: int, resamples: int) -> Interval:
    stated, right, rows = _answered(p, level)

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {"ece": calibration_error(stated, right, weights[rows])}

    return bootstrap(measure, p.group, count=resamples)["ece"]


def _answered(p: Predictions, level: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stated probability of the answered nodes of a level, are they right, and rows."""
    rows = calibrated_rows(p, level)
    right = (answers(p)[:, level] == p.truth[:, level])[rows]
    return p.prob[rows, level].astype(np.float64), right, rows


def _percent(interval: Interval) -> str:
    value, low, high = (100 * x for x in interval)
    if not np.isfinite(value):
        return DASH
    return f"{value:.2f}" + (f" [{low:.2f}, {high:.2f}]" if np.isfinite(low) else "")


def level_curve(p: Predictions, level: int) -> Curve:
    """Risk-coverage of the answered nodes of a level."""
    stated, right, _ = _answered(p, level)
    return risk_coverage(stated, right)


def _precisions(parts: Sequence[Part], tree: Taxonomy, known: TreeCalibration) -> str:
    """Shares that are decided at a threshold, and how many of these are right."""
    lines = []
    for wanted in PRECISIONS:
        least = known.certainty.least(wanted)
        line = [f"{100 * wanted:g}", DASH if least is None else f"{least:.4f}"]
        for part in parts:
            line += _decided(part, tree, least)
        lines.append(line)
    head = ["precision", "threshold"]
    for part in parts:
        head += [f"{part.name}: decided", f"at the last level ({tree.num_levels})"]
        head.append("right")
    note = (
        "The deepest node whose probability reaches the threshold: how many products"
        " have one, how many of them at the last level, and how often it is right, in %"
        " with 95 % Clopper-Pearson intervals. A threshold is the loosest whose"
        f" precision on the rows fitted has a one-sided {100 * SURE:g} % bound of at"
        " least what is wanted, over all thresholds tried; a dash: no threshold has."
        f" {ONCE}"
    )
    body = table(head, lines)
    return f"## Deepest node of a stated precision\n\n{body}\n\n{note}"


def _decided(part: Part, tree: Taxonomy, least: float | None) -> list[str]:
    if least is None:
        return [DASH] * 3
    once = drawn(part.after)
    found = certainty_of(once, tree, np.array([least]))
    deep = int((once.asked["best_prob"] >= least).all(axis=1).sum())
    counts = ((int(found.decided[0]), found.rows), (deep, found.rows))
    counts += ((int(found.right[0]), int(found.judged[0])),)
    return [_share(*pair) for pair in counts]


def _share(count: int, rows: int) -> str:
    return _percent(Interval(*share_interval(count, rows)))


def _sets(parts: Sequence[Part], tree: Taxonomy, known: TreeCalibration) -> str:
    title = "## Sets of leaves"
    if not known.sets:
        return f"{title}\n\nNone: no label of the rows fitted is known to a leaf."
    lines, held = [], parts[1:]
    for place, (coverage, least) in enumerate(known.sets.items()):
        line = [f"{100 * float(coverage):g}", f"{least:.3g}"]
        for part in held:
            once = drawn(part.after)
            inside = sets_cover(once, tree, least)
            sizes = once.asked["set_sizes"][:, place]
            line += [_share(int(inside.sum()), len(inside)), f"{sizes.mean():.2f}"]
            line.append(f"{100 * (sizes == 1).mean():.1f}")
        lines.append(line)
    head = ["coverage", "least probability"]
    for part in held:
        head += [
            f"{part.name}: true leaf inside",
            "leaves in a set",
            "sets of one leaf",
        ]
    note = (
        "Split-conformal: all leaves of at least this probability, and always the most"
        " probable one, fitted with each group of products counted once. Shares in %,"
        f" with 95 % Clopper-Pearson intervals. {ONCE} Temperatures and thresholds"
        " share the rows of one fit: the share that was promised is near, not exact."
    )
    return f"{title}\n\n{table(head, lines)}\n\n{note}"


def _curves(parts: Sequence[Part]) -> Iterator[tuple[str, int, str, Curve]]:
    for part in parts:
        for name, p in part.versions().items():
            for level in range(p.num_levels):
                yield part.name, level, name, level_curve(p, level)


def _write_curves(parts: Sequence[Part], folder: Path) -> None:
    """risk_coverage.csv, shares from 0 to 1, and risk_coverage.png."""
    levels = parts[0].after.num_levels
    panels = Panels(levels)
    lines = [part.name for part in parts]
    with (folder / "risk_coverage.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(CURVES)
        for name, level, version, (coverage, risk) in _curves(parts):
            kept = np.unique(np.linspace(0, len(risk) - 1, DRAWN).round().astype(int))
            kept = kept[: len(risk)]
            for i in kept:
                row = [name, level + 1, version, f"{coverage[i]:.6g}", f"{risk[i]:.6g}"]
                writer.writerow(row)
            number = 2 * lines.index(name) + (version == "after")
            style = line_style(number) | {"marker": "", "label": f"{name}, {version}"}
            axes = panels.axes[level]
            axes.plot(100 * coverage[kept], 100 * risk[kept], **style)
            axes.set(
                title=f"level {level + 1}", xlabel="answered, %", ylabel="wrong, %"
            )
            axes.grid(alpha=0.3)
    panels.save(folder / "risk_coverage.png", legend="lower center")
