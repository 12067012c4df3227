"""The plots of an exploration."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hsjax.evaluation.panels import Panels, line_style
from hsjax.evaluation.plots import BLUE

MOST = 15  # shops of a plot
LETTERS = 18  # of a shop's name


def plot_catalogue(
    path: Path,
    *,
    depth: Mapping[int, int],
    counts: Sequence[np.ndarray],
    lengths: Mapping[str, np.ndarray],
    clean: Mapping[str, Sequence[float]],
) -> None:
    """Depth, class sizes by rank, lengths of texts, and clean borders of pictures.

    Where a catalogue has nothing of these, the panel says so.

    Args:
      depth: levels of the label -> rows; counts: per level, of `class_counts`.
      lengths: text column -> characters; clean: shop -> share of each border.
    """
    panels = Panels(4, across=2)
    first, second, third, last = panels.axes
    first.bar([str(d) for d in depth], list(depth.values()), color=BLUE)
    first.set(title="depth of the labels", xlabel="levels", ylabel="rows")
    for level, sizes in enumerate(counts):
        style = {**line_style(level), "markersize": 3, "label": f"level {level + 1}"}
        second.plot(np.arange(1, len(sizes) + 1), sizes, **style)
    second.set(title="class sizes", xlabel="rank of the class", ylabel="rows")
    second.set(xscale="log", yscale="log")
    for number, (name, values) in enumerate(lengths.items()):
        if len(values):
            most = np.percentile(values, 99) + 1
            bins = np.arange(0, most + 1, np.ceil(most / 40))  # of whole characters
            style = {"color": line_style(number)["color"], "histtype": "step"}
            third.hist(values, bins, label=name, **style)
    third.set(title="texts", xlabel="characters", ylabel="rows")
    shops = sorted(clean, key=lambda name: -len(clean[name]))[:MOST]
    if shops:
        last.boxplot([clean[name] for name in shops], showfliers=False)
    names = [name[:LETTERS] for name in shops]
    last.set_xticks(range(1, len(shops) + 1), names, rotation=30, fontsize=7)
    last.set(title="clean borders of pictures", ylabel="share of one colour")
    last.set_ylim(0, 1.05)
    for axes in (second, third):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
    for axes in panels.axes:
        axes.grid(alpha=0.3)
        if not axes.has_data():
            axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center")
            axes.tick_params(which="both", labelbottom=False, labelleft=False)
    panels.save(path)
