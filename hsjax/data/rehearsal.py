"""A change of edition, rehearsed on a catalogue: what a made-up revision would cost.

A change is a CSV with the columns from_code,to_code,column,values: products of a class
go to another one where a column of the catalogue holds one of the values, joined by
`|`; the first line that fits decides, and one with an empty column fits all. So splits,
merges and moves are made that a title or a picture may tell, and both the old label and
the new one of each product are known.
"""

import csv
import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hsjax.atomic import finished
from hsjax.data.columns import check_table, missing_column
from hsjax.data.correlation_tables import COLUMNS
from hsjax.data.fields import as_text
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.sources import read_rows
from hsjax.spelling import meant
from hsjax.taxonomy import Taxonomy
from hsjax.tree.codes import join_levels, split_path

RULE = ("from_code", "to_code", "column", "values")
OLD, NEW = "before", "after"  # the editions
SOURCE = "counts of training rows"
SEPARATOR = " > "


class Rule(NamedTuple):
    """Products of a class that go to another; column '' = all that are left."""

    to_code: str
    column: str
    values: frozenset[str]


def read_change(path: Path) -> dict[str, list[Rule]]:
    """Class -> its rules, in their order.

    Raises:
      CatalogueError: there is no such file, or it lacks a column or a code.
    """
    check_table(path, RULE, "--change")
    rules: dict[str, list[Rule]] = defaultdict(list)
    for row, values in read_rows(path, Quarantine()):
        code, to_code, column, told = (as_text(values[name]) for name in RULE)
        if not (code and to_code):
            raise CatalogueError(f"{path}, row {row}: a code is missing")
        rules[code].append(Rule(to_code, column, frozenset(told.split("|"))))
    return dict(rules)


def changed(code: str, row: Mapping[str, str], rules: Mapping) -> str:
    """The code of a product in the new edition; '' where no rule of its class fits."""
    if code not in rules:
        return code
    fits = (r for r in rules[code] if not r.column or row[r.column] in r.values)
    return next((rule.to_code for rule in fits), "")


def share_of(seed: str, group: str) -> float:
    """A number from 0 to 1 that hangs on the group alone."""
    digest = hashlib.sha256(f"{seed}\0{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def write_rehearsal(
    source: Path, change: Path, output: Path, *, levels: Sequence[str], group: str
) -> dict[str, int]:
    """Writes `catalogue.parquet`, its `test.parquet`, two trees and two tables.

    The catalogue has all columns of the source and these: `split`, 70:15:15 by the hash
    of the group; `label` and `label_before`, of both editions; `edition`, which is the
    old one for half of the training groups; `label_mixed`, in that edition;
    `label_left`, of the new edition, empty for the old half; and `label_likeliest`,
    where the old half has the most frequent successor of its code. `correlation.csv`
    says what codes of `before.json` became in `after.json`, and `back.csv` what they
    were, both with shares of training rows as weights.

    Args:
      levels: columns of the label, coarsest first.
      group: column whose rows stay in one part.

    Returns:
      Counts by their names for people.

    Raises:
      CatalogueError: a column is missing, a rule is of no class, or none fits a row.
    """
    table, rules = pq.read_table(source), read_change(change)
    rows = _rows(table, source, rules, levels=levels, group=group)
    before = [join_levels([row[x] for x in levels], SEPARATOR)[-1] for row in rows]
    for code in sorted(rules.keys() - set(before)):
        raise CatalogueError(f"{change}: {code!r} is no label.{meant(code, before)}")
    after = [changed(x, row, rules) for x, row in zip(before, rows, strict=True)]
    if "" in after:
        row = after.index("")
        raise CatalogueError(f"{change}: no rule of {before[row]!r} fits row {row + 1}")
    parts = [_part(row[group]) for row in rows]
    drawn = [share_of("edition", row[group]) < 0.5 for row in rows]
    old = [p == "train" and x for p, x in zip(parts, drawn, strict=True)]
    pairs = list(zip(before, after, strict=True))
    counts = Counter(x for x, p in zip(pairs, parts, strict=True) if p == "train")
    output.mkdir(parents=True, exist_ok=True)
    for name, values in ({"split": parts} | _columns(pairs, old, counts)).items():
        table = table.append_column(name, pa.array(values, pa.string()))
    _write_rows(table, output)
    _write_tree(output, OLD, before)
    _write_tree(output, NEW, after)
    links = sorted({pair for pair in pairs if pair[0] in rules})
    _write_table(output / "correlation.csv", (OLD, NEW), links, counts)
    others = {other for _, other in links}
    back = sorted({(b, a) for a, b in pairs if b in others})
    turned = Counter({(b, a): n for (a, b), n in counts.items()})
    _write_table(output / "back.csv", (NEW, OLD), back, turned)
    return _facts(before, old, links)


def _write_rows(table: pa.Table, output: Path) -> None:
    """All rows, and those of the test part again."""
    pq.write_table(table, output / "catalogue.parquet")
    test = table.filter(pc.field("split") == "test")
    pq.write_table(test, output / "test.parquet")


def _write_tree(output: Path, edition: str, codes: Sequence[str]) -> None:
    paths = sorted({split_path(code, SEPARATOR) for code in codes})
    tree = Taxonomy.from_paths(paths, edition=edition, separator=SEPARATOR)
    tree.save(output / f"{edition}.json")


def _facts(before: Sequence[str], old: Sequence[bool], links) -> dict[str, int]:
    successors = Counter(code for code, _ in links)
    mixed = [code for code, of_old in zip(before, old, strict=True) if of_old]
    return {
        "products": len(before),
        "products of classes that change": sum(code in successors for code in before),
        "training products with a label of the old edition": len(mixed),
        "of them of classes that are divided": sum(successors[x] > 1 for x in mixed),
    }


def _rows(table: pa.Table, source: Path, rules, *, levels, group) -> list[dict]:
    """The columns that are needed, as text."""
    columns = {rule.column for some in rules.values() for rule in some} - {""}
    wanted = list(dict.fromkeys((*levels, group, *sorted(columns))))
    for column in wanted:
        if column not in table.column_names:
            flags = "--levels, --group or --change"
            raise missing_column(source, column, flags, table.column_names)
    rows = table.select(wanted).to_pylist()
    return [{name: as_text(value) for name, value in row.items()} for row in rows]


def _part(group: str) -> str:
    share = share_of("split", group)
    return "train" if share < 0.7 else "val" if share < 0.85 else "test"


def _columns(pairs: Sequence[tuple[str, str]], old: Sequence[bool], counts: Counter):
    """The labels of both editions, and those that a run may learn from."""
    likeliest: dict[str, str] = {}
    for (code, other), _ in sorted(counts.items(), key=lambda x: (-x[1], x[0])):
        likeliest.setdefault(code, other)
    found = [(a, b, x) for (a, b), x in zip(pairs, old, strict=True)]
    return {
        "label": [b for _, b, _ in found],
        "label_before": [a for a, _, _ in found],
        "edition": [OLD if x else NEW for _, _, x in found],
        "label_mixed": [a if x else b for a, b, x in found],
        "label_left": ["" if x else b for _, b, x in found],
        "label_likeliest": [likeliest[a] if x else b for a, b, x in found],
    }


def _write_table(path: Path, editions, links, counts: Counter) -> None:
    """A correlation table; a pair that no training row has counts for half a row."""
    totals: Counter[str] = Counter()
    for code, other in links:
        totals[code] += counts[code, other] or 0.5
    with finished(path) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for code, other in links:
            weight = (counts[code, other] or 0.5) / totals[code]
            pair = editions[0], code, editions[1], other
            writer.writerow((*pair, f"{weight:.6g}", SOURCE))
