"""What damages and their severities are called in tables."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from hsjax.data.corrupt import SEVERITIES
from hsjax.data.corrupt_text import TEXT_DAMAGE
from hsjax.data.records import Record
from hsjax.evaluation.robust_cells import CLEAN, Facts
from hsjax.robust.subjects import Products
from hsjax.sweep.lists import Run
from hsjax.sweep.table_kinds import labels_told

# damages whose strength is the share of the products that they hit
SHARES = {
    "no_text": "missing text",
    "no_image": "missing image",
    "swap_text": "another product's text",
    "swap_image": "another product's image",
}


def facts_of(
    runs: Sequence[Run],
    root: Path,
    conditions: Sequence[str],
    products: Mapping[str, Products],
) -> Facts:
    """What tables say of rows, damages, levels and labels.

    Args:
      conditions: `clean` or NAME@SEVERITY.
      products: row -> what its runs were asked, undamaged.
    """
    shares, scenarios = {}, {}
    asked = {row: _told_apart(of.records) for row, of in products.items()}
    references, notes = {}, []
    for row, reference in {run.row: run.reference for run in runs}.items():
        if row not in asked or reference not in asked:
            continue
        if asked[row] == asked[reference]:
            references[row] = reference
        else:
            notes.append(
                f"{row} is not compared with {reference}: they were asked different"
                " products or labels."
            )
    for condition in conditions:
        name, _, severity = condition.partition("@")
        if name in SHARES:
            shares[condition] = SEVERITIES[name][int(severity) - 1]
            scenarios[condition] = f"{SHARES[name]}, {100 * shares[condition]:g} %"
        elif condition != CLEAN:
            kind = "text" if name in TEXT_DAMAGE else "image"
            scenarios[condition] = f"noisy {kind}, {condition}"
    return Facts(
        references,
        shares,
        scenarios,
        level_names(next(iter(products.values())).records),
        labels_told(root / run.name for run in runs),
        asked,
        {row: of.groups for row, of in products.items()},
        tuple(notes),
    )


def _told_apart(records: Sequence[Record]) -> str:
    """Of the same rows with the same labels, the same."""
    told = "\n".join(f"{r.row} {'>'.join(r.path)}" for r in records)
    return hashlib.sha1(told.encode()).hexdigest()


def level_names(records: Sequence[Record]) -> dict[int, str]:
    """Level from 1 -> `4 digits`, where all its codes are so many digits."""
    lengths: dict[int, set[int]] = {}
    for record in records:
        for level, code in enumerate(record.path, 1):
            size = len(code) if code.isdigit() else 0
            lengths.setdefault(level, set()).add(size)
    return {
        level: f"{min(of)} digits"
        for level, of in lengths.items()
        if len(of - {0}) == len(of) == 1
    }
