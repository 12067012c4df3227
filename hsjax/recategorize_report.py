"""What a discovery says of itself: tables, a map, and scores beside hidden classes."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from hsjax.atomic import write_atomically
from hsjax.evaluation.markdown import DASH, table
from hsjax.evaluation.panels import Panels, line_style
from hsjax.features.cluster_cascade import Cascade
from hsjax.proposals import Proposal, level_keys

SHARES = {
    "purity": "purity",
    "purity_chance": "purity of random clusters of the same sizes",
    "majority_share": "share of the commonest class",
    "hungarian_accuracy": "accuracy, one class for each cluster (Hungarian)",
    "coverage": "products that are in a cluster",
}
INDICES = {"nmi": "NMI", "ari": "ARI"}
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
    document = {"metrics": dict(metrics), "context": dict(context)}
    document_text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    write_atomically(workdir / "report.json", document_text)
    return text


def proposals_markdown(proposals: Sequence[Proposal]) -> str:
    """A line for each proposal."""
    rows = [
        [
            p.key,
            p.name,
            p.size,
            f"{100 * p.share:.1f}",
            _number(p.stability),
            _number(p.silhouette),
            ", ".join(p.words[:CLASS_WORDS]) or DASH,
            ", ".join(p.label_texts[:CLASS_WORDS]) or DASH,
        ]
        for p in proposals
    ]
    head = ["cluster", "name", "products", "%", "stability", "silhouette"]
    head += ["typical words", "nearest names"]
    return table(head, rows)


def tried_markdown(cascade: Cascade) -> str:
    """What was measured of each number of clusters, the whole node first."""
    rows = [
        [
            key or "all",
            t.count,
            t.least,
            _number(t.silhouette),
            _number(t.gap),
            _number(t.stability),
        ]
        for key, tried in cascade.tried.items()
        for t in tried
    ]
    head = ["divided", "clusters", "smallest", "silhouette", "gap", "stability"]
    return table(head, rows) if rows else "No number of clusters was compared."


def scores_markdown(metrics: Scores) -> str:
    """Scores beside the hidden classes: of all products, and of those in a cluster."""
    kept = {k[5:]: v for k, v in metrics.items() if k.startswith("kept/")}
    return scores_table(
        metrics,
        kept,
        head=("", "all, what was left out by its neighbours", "those in a cluster"),
    )


def scores_table(*scores: Scores, head: Sequence[str] = ("", "")) -> str:
    """A column for each of `cluster_scores`."""
    rows = [["clusters", *(str(int(s["clusters"])) for s in scores)]]
    for name, called in (SHARES | INDICES).items():
        share = name in SHARES
        cells = [f"{100 * s[name]:.1f}" if share else f"{s[name]:.3f}" for s in scores]
        rows.append([called + ", %" * share, *cells])
    note = (
        "Purity rises with the number of clusters by itself: read it beside that of"
        " random clusters. In the accuracy each cluster may stand for one class alone."
    )
    return f"{table(head, rows)}\n\n{note}"


def plot_maps(path: Path, found: Mapping[str, tuple[Cascade, Sequence[Proposal]]]):
    """UMAP of each node that was divided, coloured by its clusters of the first level.

    Args:
      found: code of the node -> its clusters and proposals.
    """
    shown = {code: x for code, x in found.items() if x[0].nodes}
    if not shown:
        return
    panels = Panels(len(shown), panel=(4.6, 4.0))
    for axes, (code, (cascade, proposals)) in zip(
        panels.axes, shown.items(), strict=True
    ):
        names = {p.key: p.name for p in proposals}
        keys = level_keys(cascade.keys[cascade.rows], 0)
        for number, key in enumerate(k for k in names if "." not in k):
            rows = (keys == key) & cascade.kept
            style = line_style(number)
            where = cascade.points[rows].T
            mark = {"marker": style["marker"], "color": style["color"]}
            axes.scatter(*where, s=3, label=f"{key} {names[key]}", **mark)
        rest = (keys == "") & cascade.kept
        axes.scatter(*cascade.points[rest].T, s=2, color=GREY)
        axes.set(title=code, xticks=[], yticks=[])
        axes.legend(fontsize=7, markerscale=3)
    panels.save(path)


def _number(value: float) -> str:
    return f"{value:.2f}" if value == value else DASH
