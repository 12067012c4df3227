"""The Markdown of a comparison: each side over its seeds, and the differences."""

import math
import re
from collections.abc import Collection, Mapping, Sequence

from hsjax.evaluation.intervals import MIN_RUNS, Interval, share_bounds, told_bounds
from hsjax.evaluation.markdown import DASH, cell, signed, table
from hsjax.evaluation.measures import MIN_SUPPORT
from hsjax.evaluation.predictions import Predictions


def seeds_table(
    sides: Mapping[str, Mapping[str, Interval]], runs: Mapping[str, int]
) -> str:
    """Markdown of each side's means over its seeds (see `paired.over_seeds`).

    Args:
      sides: side -> metric -> mean over the runs of the side.
      runs: side -> how many runs it has, which says what its bounds are.
    """
    rows = [
        [
            name,
            *(mean_cell(name, of[name], runs[side]) for side, of in sides.items()),
        ]
        for name in next(iter(sides.values()))
    ]
    text = table(["metric", *sides], rows)
    several = {side: count for side, count in runs.items() if count > 1}
    if not several:
        return text
    told = "; ".join(f"{side}: {count} runs" for side, count in several.items())
    return f"{text}\n\nMeans over the seeds ({told}).{told_bounds(several.values())}"


def comparison_table(
    differences: Mapping[str, Interval],
    a: str = "A",
    b: str = "B",
    *,
    seeds: Mapping[str, Interval] | None = None,
) -> str:
    """Markdown of paired differences (see `paired.paired_difference`).

    Args:
      seeds: of the same over the seeds, see `paired.paired_over_seeds`; a
        difference is then real where neither interval holds 0.
    """
    rows, seeds = [], seeds or {}
    for name, found in differences.items():
        told = [signed(scale_of(name) * found.value), _bounds(name, found)]
        told += [_bounds(name, seeds[name])] if seeds else []
        unclear = "no" if math.isfinite(found.low) else DASH
        clear = found.is_clear and (not seeds or seeds[name].is_clear)
        rows.append([name, *told, "yes" if clear else unclear])
    head = ["metric", f"{a} − {b}", "95 % interval", "differs from 0"]
    note = "Intervals here come from resampled groups of rows, not from seeds."
    if seeds:
        head[2:3] = ["95 %, products", "95 %, seeds"]
        note = (
            "Products: resampled groups of rows, means over the seeds. Seeds: Student's"
            " t over the runs' own differences. Neither holds 0 where the difference"
            " is told from 0."
        )
    return f"{table(head, rows)}\n\n{note}"


def _bounds(name: str, found: Interval) -> str:
    low, high = (signed(scale_of(name) * x) for x in found[1:])
    return DASH if low == DASH else f"{low} to {high}"


def footnote(names: Collection[str], sizes: Mapping[str, Collection[int]]) -> str:
    """How much was compared, and what the name of a metric does not tell.

    Args:
      names: of the metrics shown.
      sizes: `rows`, `groups` and `rows of level K` of each run, where there is a label.
    """
    rows, groups = sizes["rows"], sizes["groups"]
    text = f"{_span(rows)} rows with a label in {_span(groups)} groups; shares in %."
    for level in dict.fromkeys(name.split("/")[0] for name in names):
        here = sizes.get(f"rows of level {level.removeprefix('level')}", rows)
        if [*here] != [*rows]:
            text += f" {level}: of the {_span(here)} rows that have one."
    if any(name.endswith("/macro_f1_min5") for name in names):
        text += f" macro_f1_min5: mean F1 of classes with {MIN_SUPPORT} rows or more."
    return text


def mean_cell(name: str, interval: Interval, runs: int) -> str:
    """`91.2 [90.5, 91.9]` over 3 runs or more, `91.2 (90.5 to 91.9)` over two.

    Args:
      name: of the metric, which says its unit.
      interval: see `intervals.seed_interval`; see `shown_bounds` for what is shown.
    """
    shown = shown_bounds(name, interval)
    value, low, high = (cell({name: x}, name, scale=scale_of(name)) for x in shown)
    if DASH in (low, high):
        return value
    range_only = runs < MIN_RUNS
    return f"{value} ({low} to {high})" if range_only else f"{value} [{low}, {high}]"


# what is no share: severities, costs, numbers of rows and clusters, speed
PLAIN = re.compile(
    r"(^|/)(severity|count|labels)/|(^|/)(rows|clusters)$|/mean_cost$"
    r"|^(examples_per|input_wait)"
)


def shown_bounds(name: str, interval: Interval) -> Interval:
    """A metric's mean over runs as tables show it: see `intervals.share_bounds`."""
    return share_bounds(interval) if scale_of(name) == 100 else interval


def scale_of(name: str) -> float:
    """What a metric is shown times: shares are in %."""
    return 1.0 if PLAIN.search(name) else 100.0


def _span(counts: Collection[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def told_twins(sides: Mapping[str, Sequence[Predictions]]) -> str:
    """A sentence where runs of a side answer alike, '' otherwise."""
    for side, of in sides.items():
        answers = [run.decoded[run.main].tolist() for run in of]
        if any(answer in answers[:k] for k, answer in enumerate(answers)):
            return (
                f"\n\nRuns of {side} answer every row the same: if they have the same"
                " seed, they count as one, and their interval means nothing."
            )
    return ""
