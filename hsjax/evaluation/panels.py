"""A grid of panels with one legend, and how the rows of a table look in it."""

from pathlib import Path

from matplotlib.figure import Figure

from hsjax.evaluation.plots import DASHES, MARKERS, SERIES, save_figure

MOST_ACROSS = 3


class Panels:
    """`count` axes, `across` of them side by side; places that are left stay empty.

    Args:
      panel: (width, height) of one, in inches; edge: of all around them.
      options: of `Figure.subplots`.
    """

    def __init__(
        self,
        count: int,
        *,
        across: int = MOST_ACROSS,
        panel: tuple[float, float] = (3.6, 3.0),
        edge: tuple[float, float] = (0.8, 0.7),
        **options,
    ):
        across = min(across, count)
        down = -(-count // across)
        size = (edge[0] + panel[0] * across, edge[1] + panel[1] * down)
        self.figure = Figure(figsize=size, layout="constrained")
        places = list(self.figure.subplots(down, across, squeeze=False, **options).flat)
        self.axes = places[:count]
        for axes in places[count:]:
            axes.set_axis_off()

    def save(self, path: Path, *, legend: str = "") -> None:
        """Args: legend: where that of the first panel goes, '' = nowhere."""
        if legend:
            lines, names = self.axes[0].get_legend_handles_labels()
            across = min(len(names), 4)
            self.figure.legend(lines, names, loc=f"outside {legend}", ncols=across)
        save_figure(self.figure, path)


def line_style(number: int) -> dict:
    """Colour, marker and dashes of a row, all told apart by more than their colour."""
    return {
        "color": SERIES[number % len(SERIES)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": DASHES[number % len(DASHES)],
    }
