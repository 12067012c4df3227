"""A catalogue in tables and plots, before anything is trained (Paper B, III-A)."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hsjax.atomic import write_atomically
from hsjax.data.explored import read_what_is_there
from hsjax.data.image import decoded
from hsjax.data.quarantine import Quarantine, written_if_refused
from hsjax.data.records import Record
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
from hsjax.evaluation.markdown import DASH, table
from hsjax.progress import progress

SHOWN = 15  # classes and shops of a table
ENOUGH = 20  # pictures of a class that is shown
CLASS_LEVEL = 1  # of these classes, where labels are as deep
ALL = "all"


def write_exploration(config, workdir: Path) -> None:
    """explore.md, explore.png and quarantine.csv.

    Labels, shops and pictures are looked at where there are any, and the page says what
    is left out and why. Every row counts, labelled or not.

    Raises:
      CatalogueError: it cannot be read.
    """
    config = config.copy_and_resolve_references().unlock()
    workdir.mkdir(parents=True, exist_ok=True)
    quarantine, flaws = Quarantine(), workdir / "quarantine.csv"
    with written_if_refused(quarantine, flaws):
        records, left_out = read_what_is_there(config, quarantine)
    quarantine.write(flaws)
    labelled = [r for r in records if r.path]
    levels = range(max((len(r.path) for r in labelled), default=0))
    level = min(CLASS_LEVEL, len(levels) - 1)
    clean = _clean(config, records, level)
    columns = tuple(config.data.columns.text)
    sections = {"Rows": _rows(records, quarantine, config)}
    if left_out:
        sections["Left out"] = "\n".join(f"- {x}: {why}" for x, why in left_out.items())
    if labelled:
        sections["Depth of the labels"] = _depth(labelled)
        sections["Imbalance"] = _imbalance(labelled, levels)
        sections["Largest classes"] = _largest(labelled)
    sections |= {f"Text: {c}": _text(records, c) for c in columns}
    sections["Pictures"] = _pictures(clean, level)
    text = f"# Exploration of {config.data.path}\n\n" + "\n\n".join(
        f"## {title}\n\n{body}" for title, body in sections.items()
    )
    plot_catalogue(
        workdir / "explore.png",
        depth=depths(labelled),
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
    labelled = sum(bool(r.path) for r in records)
    rows = [["products", len(records)], ["with a label", labelled]]
    rows += [["shops", len(shops) or "not told"], *flaws]
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
    ]
    note = ""
    if math.isfinite(x.base):  # there are labels
        told = {
            "of rows that share their text: in one class of level 1, %": x.alone,
            "level 1 by the commonest class of others with the text, %": x.majority,
            "level 1 by the commonest class of all, %": x.base,
        }
        rows += [[name, _percent(value)] for name, value in told.items()]
        note = (
            "\n\nEach row is answered by the others alone; where none has its text, the"
            " commonest class of all is named. A text that says nothing of the class"
            " does no better than that."
        )
    words = ", ".join(
        f"{w} ({_percent(share)} %)" for w, share in frequent_words(texts)
    )
    return f"{table(['', ''], rows)}{note}\n\nWords in most of them: {words}."


def _clean(
    config, records: Sequence[Record], level: int
) -> dict[str, dict[str, list[float]]]:
    """`shop` and `class` -> name -> cleanliness of each of its pictures.

    Args:
      level: of the classes; a label that ends above is of none of them.
    """
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
        if len(r.path) > level >= 0:
            by_class.setdefault(r.path[level], []).append(value)
    return {"shop": by_shop, "class": by_class}


def _pictures(clean, level: int) -> str:
    if not clean["shop"]:
        return "No row has a picture."
    told = (
        f"Clean is a picture with at least {100 * CLEAN:.0f} % of its border in one"
        " colour."
    )
    head = ["", "pictures", "clean, %", "median share of the border"]
    shops = list(clean_shares(clean["shop"]).items())[:SHOWN]
    parts = [told, table(head, _clean_rows(shops))]
    if level >= 0:
        classes = [x for x in clean_shares(clean["class"]).items() if x[1][0] >= ENOUGH]
        worst = sorted(classes, key=lambda item: item[1][1])[:SHOWN]
        parts.append(
            f"Classes of level {level + 1} with {ENOUGH} pictures or more, the least"
            " clean first:"
            if worst
            else f"No class of level {level + 1} has {ENOUGH} pictures."
        )
        parts += [table(head, _clean_rows(worst))] if worst else []
    return "\n\n".join(parts)


def _clean_rows(shares) -> list[list]:
    return [[name, n, _percent(a), f"{b:.2f}"] for name, (n, a, b) in shares]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}" if math.isfinite(share) else DASH
