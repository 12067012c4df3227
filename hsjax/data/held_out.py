"""What a run is not to learn from: classes, a part of its training, or of its labels.

All ask what data are worth, so that everything else stays the same: the test part, the
tree, and the rows that are kept. What is left out has a part of its own, which nothing
learns from: no model, no tokenizer, no count of training rows.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer, Shaped

from hsjax.data.fields import as_text
from hsjax.data.groups import sort_keys
from hsjax.data.named_nodes import find_nodes
from hsjax.data.nomenclature import node_paths
from hsjax.data.records import CatalogueError, Quarantine, Record
from hsjax.data.splits import LEFT_OUT, hash_order, majority_leaves
from hsjax.data.stored_records import ends_of, labels_of, relabelled, selected
from hsjax.data.strict_tables import strict_rows
from hsjax.taxonomy import Taxonomy

MUCH = 1.1  # times the share that was asked for: worth a sentence


class HoldOut(NamedTuple):
    """What is to be held out.

    Attributes:
      share: of the training rows that stay, above 0.
      shots: of each leaf's training rows, so many stay at most, and so many of its
        validation rows; 0 = all.
      label_share: of these rows that keep their label, above 0.
      seed: of the order of the groups.
      codes: of nodes that are to have no example, as they were written.
      own: these may be own codes, such as labels of the kind `node` are.
    """

    share: float
    shots: int
    label_share: float
    seed: int
    codes: tuple[str, ...]
    own: bool


def read_hold_out(config_data) -> HoldOut:
    """`data.train_share`, `shots`, `label_share` and `leave_out`, with its files.

    Raises:
      CatalogueError: no share, no code, or a file that cannot be read.
    """
    codes, shares = [], (config_data.train_share, config_data.label_share)
    for name, share in zip(("train_share", "label_share"), shares, strict=True):
        if not 0 < share <= 1:
            raise CatalogueError(f"data.{name} is {share}; give a share in (0, 1]")
    for entry in config_data.leave_out:
        if not isinstance(entry, str) or not entry.strip():
            raise CatalogueError(
                f"data.leave_out: {entry!r} is no code; write codes in quotes, with"
                " their leading zeros: ('01', '640411')"
            )
        codes += _listed(Path(entry)) if entry.endswith(".csv") else [entry]
    own = config_data.columns.label_kind == "node"
    (share, labels), shots = shares, config_data.shots
    return HoldOut(share, shots, labels, config_data.split.seed, tuple(codes), own)


def _listed(path: Path) -> list[str]:
    """The column `code` of a file."""
    codes = []
    for number, values in strict_rows(path, ("code",), "data.leave_out"):
        codes.append(as_text(values["code"]))
        if not codes[-1]:
            raise CatalogueError(f"data.leave_out: {path}, row {number}: no code")
    if not codes:
        raise CatalogueError(f"data.leave_out: {path}, no row")
    return codes


def hold_out(
    asked: HoldOut,
    records: Sequence[Record],
    groups: Integer[np.ndarray, "N"],
    parts: Shaped[np.ndarray, "N"],
    *,
    tree: Taxonomy,
    quarantine: Quarantine,
) -> tuple[Shaped[np.ndarray, "N"], dict[str, int]]:
    """(parts, counts by their names for people): rows that are left out become so.

    Classes go first. Their rows leave training and validation, and those of the test
    part stay there: classes that are known and have no example. A node goes with all
    that lies below it. Then a share of the remaining training rows is kept, see
    `first_share`; validation and test stay as they are. A few shots are all the labels
    that there are, so that validation, too, has no more of each leaf.

    Args:
      parts: of `assign_splits`.
      tree: of all training rows, or a given one: what is left out keeps its nodes.

    Raises:
      CatalogueError: no such node, or no row to learn from or to validate on is left.
    """
    found: dict[str, int] = {}
    if asked.codes:
        parts, found = _without(asked, records, parts, tree)
    if asked.share < 1 or asked.shots:
        train, how = parts == "train", {"seed": asked.seed, "shots": asked.shots}
        kept = first_share(records, groups, train, share=asked.share, **how)
        parts = np.where(train & ~kept, LEFT_OUT, parts)
        names = {"train_share": asked.share < 1, "shots": asked.shots}
        name = " and ".join(name for name, given in names.items() if given)
        found[f"rows left out of training ({name})"] = int((train & ~kept).sum())
        if asked.share < 1:
            _tell("train_share", asked.share, kept.sum() / train.sum(), quarantine)
        if asked.shots:
            _tell_shots(asked.shots, records, kept, quarantine)
            val = parts == "val"
            gone = val & ~first_share(records, groups, val, share=1.0, **how)
            parts = np.where(gone, LEFT_OUT, parts)
            found["rows left out of validation (shots)"] = int(gone.sum())
    return parts, found


def _without(asked: HoldOut, records, parts, tree: Taxonomy):
    """(parts, counts) without the classes of `leave_out`."""
    nodes = find_nodes(asked.codes, tree, node_paths(tree) if asked.own else {})
    paths = ({*path, *sum(sets, ())} for path, _, sets in labels_of(records))
    below = np.array([not nodes.isdisjoint(path) for path in paths], bool)
    gone = below & (parts != "test")
    parts = np.where(gone, LEFT_OUT, parts)
    for part, name in (("train", "training"), ("val", "validation")):
        if part not in parts:
            raise CatalogueError(
                f"data.leave_out leaves no row for {name}: name fewer nodes"
            )
    return parts, {
        "rows left out of training and validation (leave_out)": int(gone.sum()),
        "test rows of what is left out (leave_out)": int((below & ~gone).sum()),
    }


def hold_labels_out(
    asked: HoldOut,
    records: Sequence[Record],
    groups: Integer[np.ndarray, "N"],
    parts: Shaped[np.ndarray, "N"],
    *,
    quarantine: Quarantine,
) -> tuple[Sequence[Record], dict[str, int]]:
    """(records, counts by their names for people): training rows that lose their label.

    They stay, as goods that nobody has classified yet: the contrastive loss learns from
    them, classification cannot. Which ones: see `first_share`.

    Args:
      parts: of `hold_out`.
    """
    if asked.label_share == 1:
        return records, {}
    train, share = parts == "train", asked.label_share
    kept = first_share(records, groups, train, share=share, seed=asked.seed)
    gone = train & ~kept
    _tell("label_share", share, kept.sum() / train.sum(), quarantine)
    bare = iter(gone.tolist())  # `relabelled` takes the records in order
    found = relabelled(records, lambda record: _bare(record) if next(bare) else record)
    return found, {"training rows without their label (label_share)": int(gone.sum())}


def _bare(record: Record) -> Record:
    return replace(record, path=(), complete=False, admissible=())


def _tell_shots(shots: int, records, kept: np.ndarray, quarantine: Quarantine) -> None:
    own = labels_of(selected(records, np.flatnonzero(kept)))
    ends = Counter(path[-1:] for path, *_ in own).values()
    if more := sum(count > shots for count in ends):
        told = f"data.shots={shots}: {more} leaves keep more training rows"
        quarantine.warn(f"{told}: each keeps whole groups, and at least one")


def _at(keys, places: np.ndarray):
    return keys[places] if isinstance(keys, np.ndarray) else [keys[i] for i in places]


def _tell(name: str, asked: float, kept: float, quarantine: Quarantine) -> None:
    if kept > MUCH * asked:
        quarantine.warn(
            f"data.{name}={asked:g} keeps {100 * kept:.2g} % of the training rows: each"
            " leaf keeps whole groups, and at least one"
        )


def first_share(
    records: Sequence[Record],
    groups: Integer[np.ndarray, "N"],
    rows: Bool[np.ndarray, "N"],
    *,
    share: float,
    seed: int,
    shots: int = 0,
) -> Bool[np.ndarray, "N"]:
    """Which of `rows` are the first `share` of their leaf, and at most `shots` of them.

    As in `assign_splits`, a group belongs to its majority leaf, and the groups of a
    leaf are in the order of hash(seed, group key). The first ones that hold the share
    of its *rows*, rounded to whole groups, are kept, the very first one always: at 1 %
    every class still has an example, where rare ones make the whole larger. A smaller
    share is a part of a larger one, and neither the order of the rows nor other leaves
    change it.
    """
    _, dense = np.unique(groups, return_inverse=True)
    leaves = ends_of(records)
    present, own = np.unique(dense[rows], return_inverse=True)
    homes, sizes = majority_leaves(own, leaves[rows]), np.bincount(own)
    total = np.bincount(homes, sizes)
    keys = sort_keys(records, dense)
    before, held = np.zeros(len(total)), np.zeros(len(total))
    kept = np.zeros(len(present), bool)
    for group in hash_order(_at(keys, present), seed):
        home, size = homes[group], sizes[group]
        middle = before[home] + size / 2
        few = not shots or held[home] + size <= shots
        kept[group] = not held[home] or (few and middle <= share * total[home])
        held[home] += size * kept[group]
        before[home] += size
    stays = np.zeros(len(rows), bool)
    stays[rows] = kept[own]
    return stays
