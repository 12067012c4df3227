"""Labels that are sound one by one and look wrong beside the others, for `check`."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from hsjax.data.columns import label_kind
from hsjax.data.records import Record
from hsjax.taxonomy import Taxonomy

SHOWN = 10  # look-alikes
SHOWN_ENDS = 3
FEW = 10  # rows that end at a node for each that goes deeper, and more
_SPOKEN = "#%@*"  # punctuation that makes another word: C# is not C


class EarlyEnd(NamedTuple):
    """A node at which many labels end and few go deeper: `deeper` rows, the first."""

    node: str
    rows: int
    deeper: int
    row: int
    label: str


class LookAlike(NamedTuple):
    """A node that differs from a more frequent one in its spelling alone."""

    node: str
    rows: int
    row: int  # the first
    usual: str
    usual_rows: int


def suspicious_labels(config, records: Sequence[Record], tree: Taxonomy) -> list[str]:
    """Paragraphs on labels to be looked at, each with what to do; HS codes have none.

    Args:
      config, tree: of the whole run; records: of `fit_labels`, by which those that end
        at a leaf are complete.
    """
    if label_kind(config.data) not in ("path", "levels"):
        return []
    # where a file gives the tree, no row makes an end an inner node
    ends = [] if config.taxonomy.path else early_ends(records, tree)
    alike = look_alikes(records, config.data.columns.separator)
    return [text for text in (_told_ends(ends), _told_alike(alike)) if text]


def early_ends(records: Sequence[Record], tree: Taxonomy) -> list[EarlyEnd]:
    """Inner nodes that labels seem to reach only by a mistake, the worst first.

    A single row that goes deeper makes an inner node of a leaf, and so leaves every
    other label that ends there unknown below it.
    """
    inner = {
        str(code)
        for codes, leaf, stop in zip(tree.codes, tree.leaf, tree.stop, strict=True)
        for code in codes[~leaf & ~stop]
    }
    ends = Counter(r.path[-1] for r in records if r.path and not r.complete)
    deeper: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        for node in record.path[:-1]:
            deeper[node].append(record)
    found = [
        EarlyEnd(node, n, len(below), below[0].row, below[0].path[-1])
        for node, n in ends.items()
        if node in inner and (below := deeper[node]) and n > FEW * len(below)
    ]
    return sorted(found, key=lambda end: -end.rows)


def look_alikes(records: Sequence[Record], separator: str) -> list[LookAlike]:
    """Nodes whose `spelled` is that of a more frequent one, those with most rows first.

    Other nodes than whole labels are told where they have rows that no pair has yet.
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for record in records:
        for node in record.path:
            rows[node].append(record.row)
    spellings: dict[str, list[str]] = defaultdict(list)
    for node in rows:
        spellings[spelled(node, separator)].append(node)
    usual = {
        node: max(nodes, key=lambda x: len(rows[x]))
        for nodes in spellings.values()
        for node in nodes
    }
    whole = {record.path[-1] for record in records if record.path}
    odd = [node for node in rows if usual[node] != node]
    odd.sort(key=lambda node: (node not in whole, node.count(separator)))
    found, told = [], set()
    for node in odd:
        if node in whole or not told.issuperset(rows[node]):
            told.update(rows[node])
            pair = usual[node], len(rows[usual[node]])
            found.append(LookAlike(node, len(rows[node]), rows[node][0], *pair))
    return sorted(found, key=lambda pair: -pair.rows)


def spelled(node: str, separator: str) -> str:
    """A path without what spellings differ in: capitals, blanks, marks, separators.

    >>> spelled("Women / T-Shirts", " > ") == spelled("women > t shirts", " > ")
    True
    >>> spelled("Top Wear", " > ") == spelled("Topwear", " > ")
    True
    """
    return "".join(_letters(part) or part for part in node.split(separator))


def _letters(text: str) -> str:
    kept = (" " if _blank(c) else c for c in unicodedata.normalize("NFKC", text))
    words = " ".join("".join(kept).casefold().split())
    return re.sub(r"(?<!\d) | (?!\d)", "", words)  # 4.5 is not 45


def _blank(c: str) -> bool:
    mark = unicodedata.category(c)[0] in "PZC" and c not in _SPOKEN
    return mark or c in "|>"


def _told_ends(ends: Sequence[EarlyEnd]) -> str:
    lines = [
        f"{_rows(end.rows)} of `{end.node}` end where {_rows(end.deeper)}"
        f" {'goes' if end.deeper == 1 else 'go'} deeper"
        f" ({'' if end.deeper == 1 else 'first '}row {end.row}: `{end.label}`)"
        for end in ends
    ]
    head = (
        "A few rows that go deeper leave all others of their node unknown below it."
        " data.columns.blank_level=stop takes those as complete, or correct the rows"
        " that go deeper:"
    )
    return _list(head, lines, SHOWN_ENDS)


def _told_alike(pairs: Sequence[LookAlike]) -> str:
    lines = [
        f"`{x.node}` ({_rows(x.rows)}, first row {x.row}) -> `{x.usual}`"
        f" ({_rows(x.usual_rows)})"
        for x in pairs
    ]
    head = (
        "Labels that differ only in capitals, blanks, punctuation or separator are"
        " classes of their own. Mend the file, or give a data.label_map, which has to"
        " list every label:"
    )
    return _list(head, lines, SHOWN)


def _rows(n: int) -> str:
    return f"{n:,} row{'' if n == 1 else 's'}"


def _list(head: str, lines: Sequence[str], shown: int) -> str:
    """The first lines under their head, '' where there is none."""
    if not lines:
        return ""
    more = [f"and {len(lines) - shown:,} more"] if len(lines) > shown else []
    return "\n".join([head, "", *(f"- {x}" for x in [*lines[:shown], *more])])
