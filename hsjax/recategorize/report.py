"""What a discovery says of itself: tables, a map, and scores beside hidden classes."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hsjax.atomic import write_atomically
from hsjax.evaluation.markdown import DASH, table
from hsjax.evaluation.panels import Panels, line_style
from hsjax.features.cluster_cascade import Cascade
from hsjax.recategorize.proposals import Proposal, level_keys

SHARES = {
    "purity": "purity",
    "majority_share": "share of the commonest class",
    "hungarian_accuracy": "accuracy, one class for each cluster (Hungarian)",
    "nmi": "NMI",
    "ari": "ARI",
    "coverage": "products that are in a cluster",
    "accuracy_old": "accuracy of classes that baselines know",
    "accuracy_new": "accuracy of the other classes",
}
COLUMNS = {
    "": "all products",
    "kept/": "those in a cluster",
    "free/": "those whose class no method is told",
    "nodes/": "all, by their labels as they were",
}
Scores = Mapping[str, float | int]
CLASS_WORDS = 3  # typical words of a line
GREY = "#9a9a9a"


def write_report(
    workdir: Path, sections: Mapping[str, str], metrics: Mapping, context: Mapping
) -> str:
    """report.md and report.json; returns the Markdown."""
    text = "\n\n".join(f"## {title}\n\n{body}" for title, body in sections.items())
    text = f"# New sub-categories of {context['branch']}\n\n{text}\n"
    write_atomically(workdir / "report.md", text)
    measured = {k: None if v != v else v for k, v in metrics.items()}
    document = {"metrics": measured, "context": dict(context)}
    document_text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(workdir / "report.json", document_text + "\n")
    return text


def proposals_markdown(proposals: Sequence[Proposal]) -> str:
    """A line for each proposal."""
    named = any(p.label_texts for p in proposals)
    rows = [
        [
            p.key,
            p.name,
            p.size,
            f"{100 * p.share:.1f}",
            _number(p.stability),
            _number(p.silhouette),
            ", ".join(p.words[:CLASS_WORDS]) or DASH,
            *([", ".join(p.label_texts[:CLASS_WORDS]) or DASH] if named else []),
        ]
        for p in proposals
    ]
    head = ["cluster", "name", "products", "%", "stability in its map", "silhouette"]
    return table([*head, "typical words", *["nearest names"] * named], rows)


def tried_markdown(cascade: Cascade) -> str:
    """What was measured of each number of clusters, the whole node first."""
    rows = [
        [
            key or "all",
            f"{t.count}{' (the best)' if cascade.chosen.get(key) is t else ''}",
            t.least,
            _number(t.silhouette),
            _number(t.gap),
            _number(t.stability),
        ]
        for key, tried in cascade.tried.items()
        for t in tried
    ]
    head = ["divided", "clusters", "smallest", "silhouette", "gap", "stability in map"]
    return table(head, rows)


def why_undivided(cascade: Cascade, least: float) -> str:
    """Why there is no cluster.

    Args:
      least: `recategorize.min_stability`.
    """
    if best := cascade.chosen.get(""):
        if best.count == 1:
            return "one group is the best"
        return (
            f"no number of groups is stable; {best.count}, the best, come back with a"
            f" stability of {best.stability:.2f}, below min_stability {least}"
        )
    return "no number of groups leaves two that are large enough"


def scores_markdown(metrics: Scores) -> str:
    """Scores beside the hidden classes, a column for each form of `discovery_scores`.

    In the first two, what was left out goes where its neighbours are.
    """
    forms = {form: {} for form in COLUMNS}
    for name, value in metrics.items():
        form, slash, rest = name.rpartition("/")
        forms[form + slash][rest] = value
    return scores_table(*forms.values(), head=("", *COLUMNS.values()))


def scores_table(*scores: Scores, head: Sequence[str] = ("", "")) -> str:
    """A column for each of `cluster_scores`."""
    rows = [["clusters", *(str(int(s["clusters"])) for s in scores)]]
    rows += [["products", *(f"{int(s['rows']):,}" for s in scores)]]
    for name, called in SHARES.items():
        if any(name in s for s in scores):
            rows.append([f"{called}, %", *(_share(s, name) for s in scores)])
    note = (
        "In brackets: random clusters of the same sizes, drawn within each node that"
        " was divided. Purity rises with the number of clusters by itself: read it"
        " beside that. In the accuracy each cluster may stand for one class alone."
    )
    return f"{table(head, rows)}\n\n{note}"


def _share(scores: Scores, name: str) -> str:
    """`68.3 (31.5)`: in %, and by chance."""
    value, chance = (100 * scores.get(n, np.nan) for n in (name, f"{name}_chance"))
    if value != value:
        return DASH
    return f"{value:.1f} ({chance:.1f})" if chance == chance else f"{value:.1f}"


def plot_maps(path: Path, found: Mapping[str, tuple[Cascade, Sequence[Proposal]]]):
    """Each node that was divided by UMAP, coloured by its clusters of the first level.

    Args:
      found: code of the node -> its clusters and proposals.
    """
    shown = {code: x for code, x in found.items() if len(x[0].points)}
    if not shown:
        return
    panels = Panels(len(shown), panel=(4.6, 4.0))
    for axes, (code, (cascade, proposals)) in zip(
        panels.axes, shown.items(), strict=True
    ):
        names = {p.key: p.name for p in proposals}
        keys = level_keys(cascade.keys[cascade.rows], 0)
        for number, key in enumerate(k for k in names if "." not in k):
            rows = keys == key
            style = line_style(number)
            where = cascade.points[rows].T
            mark = {"marker": style["marker"], "color": style["color"]}
            axes.scatter(*where, s=3, label=f"{key} {names[key]}", **mark)
        rest = keys == ""
        axes.scatter(*cascade.points[rest].T, s=2, color=GREY)
        axes.set(title=code, xticks=[], yticks=[])
        axes.legend(fontsize=7, markerscale=3)
    panels.save(path)


def _number(value: float) -> str:
    return f"{value:.2f}" if value == value else DASH
