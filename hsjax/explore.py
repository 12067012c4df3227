"""A catalogue in tables and plots, before anything is trained (Paper B, III-A)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hsjax.atomic import write_atomically
from hsjax.data.examples import decoded
from hsjax.data.prepare import label_nodes
from hsjax.data.quarantine import Quarantine, written_if_refused
from hsjax.data.records import Record, load_records
from hsjax.data.sources import SYNTHETIC
from hsjax.evaluation.catalogue_facts import (
    CLEAN,
    class_counts,
    clean_shares,
    cleanliness,
    depths,
    frequent_words,
    imbalance,
    lengths,
    skew,
)
from hsjax.evaluation.explore_plot import plot_catalogue
from hsjax.evaluation.markdown import table
from hsjax.progress import progress

SHOWN = 15  # classes and shops of a table
ALL = "all"


def write_exploration(config, workdir: Path) -> None:
    """explore.md, explore.png and quarantine.csv.

    Raises:
      CatalogueError: it cannot be read.
    """
    config = config.copy_and_resolve_references().unlock()
    workdir.mkdir(parents=True, exist_ok=True)
    quarantine, flaws = Quarantine(), workdir / "quarantine.csv"
    with written_if_refused(quarantine, flaws):
        records = load_records(
            config.data,
            quarantine=quarantine,
            digits=tuple(config.taxonomy.digits),
            nodes=label_nodes(config),
        )
    quarantine.write(flaws)
    clean = _clean(config, records)
    levels = range(max(map(len, (r.path for r in records)), default=0))
    columns = tuple(config.data.columns.text)
    sections = {
        "Rows": _rows(records, quarantine, config),
        "Depth of the labels": _depth(records),
        "Imbalance": _imbalance(records, levels),
        "Largest classes": _largest(records),
        **{f"Text: {c}": _text(records, c) for c in columns},
        "Pictures": _pictures(clean),
    }
    text = f"# Exploration of {config.data.path}\n\n" + "\n\n".join(
        f"## {title}\n\n{body}" for title, body in sections.items()
    )
    plot_catalogue(
        workdir / "explore.png",
        depth=depths(records),
        counts=[class_counts(records, level) for level in levels],
        lengths={c: lengths([r.texts[c] for r in records]) for c in columns},
        clean=clean["shop"],
    )
    write_atomically(workdir / "explore.md", text + "\n")
    print(text)
    print(f"\nall files: {workdir}")


def _rows(records: Sequence[Record], quarantine: Quarantine, config) -> str:
    counts = sorted(quarantine.counts().items(), key=lambda item: -item[1])
    flaws = [[f"{reason}: {action}", n] for (reason, action), n in counts]
    shops = sorted({r.platform for r in records if r.platform})
    rows = [["products", len(records)], ["shops", len(shops) or "not told"], *flaws]
    told = [table(["", ""], rows), *quarantine.warnings]
    if config.data.path == SYNTHETIC:
        told.append("Drawn by a law: what follows is that of the law, not of a shop.")
    return "\n\n".join(told)


def _depth(records: Sequence[Record]) -> str:
    found = depths(records)
    rows = [[d, n, _percent(n / len(records))] for d, n in found.items()]
    mean = sum(d * n for d, n in found.items()) / len(records)
    told = f"The mean is {mean:.2f}."
    return f"{table(['levels', 'rows', '%'], rows)}\n\n{told}"


def _imbalance(records: Sequence[Record], levels) -> str:
    rows = []
    for level in levels:
        x = imbalance(records, level)
        shares = (_percent(x.largest), _percent(x.two))
        rows.append(
            [level + 1, x.rows, x.classes, *shares, x.rare, f"{x.effective:.1f}"]
        )
    head = ["level", "rows", "classes", "largest, %", "two largest, %"]
    note = (
        "Effective classes: so many of equal size would be as uncertain (exp of the"
        " entropy)."
    )
    head += ["fewer than 10 rows", "effective classes"]
    return f"{table(head, rows)}\n\n{note}"


def _largest(records: Sequence[Record]) -> str:
    ends, counts = np.unique(
        [r.path[-1] for r in records if r.path], return_counts=True
    )
    order = np.argsort(-counts, kind="stable")[:SHOWN]
    rows = [
        [ends[i], int(counts[i]), _percent(counts[i] / counts.sum())] for i in order
    ]
    return table(["label", "rows", "%"], rows)


def _text(records: Sequence[Record], column: str) -> str:
    texts = [r.texts[column] for r in records]
    found = lengths(texts)
    if not len(found):
        return "No row has this text."
    least, low, middle, high, most = np.percentile(found, [0, 5, 50, 95, 100])
    x = skew(records, column)
    rows = [
        ["rows with it, %", _percent(len(found) / len(texts))],
        ["characters, mean", f"{found.mean():.1f}"],
        ["characters, 5 % / median / 95 %", f"{low:.0f} / {middle:.0f} / {high:.0f}"],
        ["characters, least / most", f"{least:.0f} / {most:.0f}"],
        ["different texts", x.values],
        ["rows with one of the 10 most frequent, %", _percent(x.top)],
        ["rows whose text occurs in one class of level 1, %", _percent(x.alone)],
        ["level 1 by the text's commonest class, %", _percent(x.majority)],
        ["level 1 by the commonest class of all, %", _percent(x.base)],
    ]
    words = ", ".join(
        f"{w} ({_percent(share)} %)" for w, share in frequent_words(texts)
    )
    return f"{table(['', ''], rows)}\n\nWords in most of them: {words}."


def _clean(config, records: Sequence[Record]) -> dict[str, dict[str, list[float]]]:
    """`shop` and `class` -> name -> cleanliness of each of its pictures."""
    by_shop: dict[str, list[float]] = {}
    by_class: dict[str, list[float]] = {}
    image = config.data.image
    size = {"resize": tuple(image.resize), "max_pixels": image.max_pixels}
    for r in progress(records, "pictures", unit="pictures"):
        picture = decoded(r.image, **size)
        if picture is None:
            continue
        value = cleanliness(picture)
        by_shop.setdefault(r.platform or ALL, []).append(value)
        if r.path:
            by_class.setdefault(r.path[min(1, len(r.path) - 1)], []).append(value)
    return {"shop": by_shop, "class": by_class}


def _pictures(clean) -> str:
    if not clean["shop"]:
        return "No row has a picture."
    told = (
        f"Clean is a picture with at least {100 * CLEAN:.0f} % of its border in one"
        " colour."
        " Below, classes of level 2 with 20 pictures or more, the least clean first."
    )
    head = ["", "pictures", "clean, %", "median share of the border"]
    shops = clean_shares(clean["shop"])
    classes = {k: x for k, x in clean_shares(clean["class"]).items() if x[0] >= 20}
    worst = sorted(classes, key=lambda name: classes[name][1])[:SHOWN]
    parts = [
        table(
            head, [[name, n, _percent(a), f"{b:.2f}"] for name, (n, a, b) in of.items()]
        )
        for of in (dict(list(shops.items())[:SHOWN]), {k: classes[k] for k in worst})
    ]
    return "\n\n".join([told, *parts])


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
