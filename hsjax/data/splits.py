"""Train, validation and test parts that share no product group."""

import datetime
import hashlib
from collections.abc import Sequence

import numpy as np

from hsjax.data.content import content_keys_of
from hsjax.data.groups import sort_keys
from hsjax.data.records import CatalogueError, Record
from hsjax.data.stored_records import selected

PARTS = ("train", "val", "test")
LEFT_OUT = "out"  # of rows that a run is not to learn from: see `held_out`
_OFFICIAL = {"valid": "val", "validation": "val", "dev": "val"} | {p: p for p in PARTS}


def assign_splits(
    records: Sequence[Record], groups: np.ndarray, leaves: np.ndarray, config_split
) -> np.ndarray:
    """The part of each row, (N,) '<U5' of train, val, test.

    by = group: within each majority leaf, groups in the order of hash(seed, group key)
    fill the quotas of *rows*; leaves with fewer than 3 groups go to train, others reach
    every part.
    by = row: the same with each row as its own group (duplicates then cross parts).
    by = platform: groups with a row of `test_platforms` are test, others train and val.
    by = date: from `val_from` on val, from `test_from` on test; a group goes to its
    earliest part.
    by = column: official parts as they are; a missing val is carved from train.

    Raises CatalogueError: bad fractions, dates or platforms; train or val is empty.
    """
    check_fractions(config_split.fractions)
    if config_split.by not in _RULES:
        raise CatalogueError(
            f"config.data.split.by is {config_split.by!r}; choose of {sorted(_RULES)}"
        )
    _, groups = np.unique(groups, return_inverse=True)
    leaves = np.unique(leaves, return_inverse=True)[1]
    parts = _RULES[config_split.by](records, groups, leaves, config_split)
    for part in PARTS[:2]:
        if part not in parts:
            raise CatalogueError(
                f"the {part} part is empty: {len(records)} rows, {groups.max() + 1}"
                f" groups, split by {config_split.by}. Use more rows (a leaf with fewer"
                " than 3 groups is all train), or another config.data.split.by"
            )
    return parts


def check_fractions(fractions) -> None:
    """CatalogueError unless these are shares of train, val and test."""
    good = len(fractions) == 3 and abs(sum(fractions) - 1) < 1e-6
    if not good or min(fractions) < 0 or not fractions[0] or not fractions[1]:
        raise CatalogueError(
            f"config.data.split.fractions is {tuple(fractions)}; give shares of train,"
            " val and test that sum to 1, train and val above 0"
        )


def _by_group(records, groups, leaves, config_split) -> np.ndarray:
    keys, shares = sort_keys(records, groups), config_split.fractions
    return _stratified(keys, groups, leaves, seed=config_split.seed, fractions=shares)


def _by_row(records, groups, leaves, config_split) -> np.ndarray:
    # Ids may be row numbers, so they are no part of the key; equal rows may swap.
    keys = content_keys_of(records)
    rows, shares = np.arange(len(records)), config_split.fractions
    return _stratified(keys, rows, leaves, seed=config_split.seed, fractions=shares)


def _stratified(keys, groups, leaves, *, seed: int, fractions) -> np.ndarray:
    """Fills the quotas of each leaf with its groups; `keys` has one key per group."""
    sizes = np.bincount(groups)
    homes = majority_leaves(groups, leaves)
    strata: dict[int, list[int]] = {}
    for group in hash_order(keys, seed):
        strata.setdefault(int(homes[group]), []).append(group)
    part_of = np.zeros(len(sizes), np.int64)
    for members in strata.values():
        if len(members) >= 3:
            part_of[members] = _fill(sizes[members], fractions)
    return np.array(PARTS)[part_of[groups]]


def majority_leaves(groups: np.ndarray, leaves: np.ndarray) -> np.ndarray:
    """The most frequent leaf of each group, the smallest one among equals, (G,)."""
    pairs, counts = np.unique(np.stack([groups, leaves]), axis=1, return_counts=True)
    order = np.lexsort((pairs[1], -counts, pairs[0]))
    _, first = np.unique(pairs[0][order], return_index=True)
    return pairs[1][order][first]


def hash_order(keys: Sequence[str] | np.ndarray, seed: int) -> np.ndarray:
    """Positions of the keys in the order of hash(seed, key)."""
    if isinstance(keys, np.ndarray):  # of a prepared catalogue: 40 bytes each
        start = f"{seed}\0".encode()
        hashed = (hashlib.sha256(start + key).digest() for key in keys)
        return np.argsort(np.fromiter(hashed, "S32", count=len(keys)), kind="stable")
    digests = [hashlib.sha256(f"{seed}\0{key}".encode()).digest() for key in keys]
    order = sorted(range(len(keys)), key=lambda group: (digests[group], keys[group]))
    return np.array(order, np.int64)


def _fill(sizes: np.ndarray, fractions) -> np.ndarray:
    """Parts of a leaf's groups: each goes where most rows are still missing.

    A part that stayed empty takes the smallest group of train.
    """
    missing = np.array(fractions) * sizes.sum()
    parts = np.empty(len(sizes), np.int64)
    for i, size in enumerate(sizes):
        parts[i] = missing.argmax()
        missing[parts[i]] -= size
    for part in (1, 2):
        train = np.flatnonzero(parts == 0)
        if fractions[part] and part not in parts and len(train) > 1:
            parts[train[sizes[train].argmin()]] = part
    return parts


def _carve_val(records, groups, leaves, config_split, *, test) -> np.ndarray:
    """Splits the rows that are not test into train and val, by group."""
    parts = np.where(test, "test", "train").astype("<U5")
    rows = np.flatnonzero(~test)
    if len(rows):
        kept = selected(records, rows)
        _, dense = np.unique(groups[rows], return_inverse=True)
        train = config_split.fractions[0] / sum(config_split.fractions[:2])
        keys, seed, own = sort_keys(kept, dense), config_split.seed, leaves[rows]
        shares = (train, 1 - train, 0.0)
        parts[rows] = _stratified(keys, dense, own, seed=seed, fractions=shares)
    return parts


def _by_platform(records, groups, leaves, config_split) -> np.ndarray:
    platforms = np.array([record.platform for record in records])
    for name in config_split.test_platforms or ("",):
        if not name or name not in platforms:
            raise CatalogueError(
                f"config.data.split.test_platforms: no rows of {name!r}; the catalogue"
                f" has {sorted(set(platforms.tolist()))}"
            )
    shops = np.isin(platforms, list(config_split.test_platforms))
    test = np.isin(groups, groups[shops])
    return _carve_val(records, groups, leaves, config_split, test=test)


def _by_date(records, groups, leaves, config_split) -> np.ndarray:
    names = ("val_from", "test_from") if config_split.test_from else ("val_from",)
    borders = [_day(config_split[name], f"config.data.split.{name}") for name in names]
    if borders != sorted(set(borders)):
        raise CatalogueError("config.data.split.val_from is not earlier than test_from")
    days = [_day(record.date, f"date of row {record.row}") for record in records]
    own = np.searchsorted(np.array(borders), np.array(days), side="right")
    earliest = np.full(groups.max() + 1, len(PARTS))
    np.minimum.at(earliest, groups, own)
    return np.array(PARTS)[earliest[groups]]


def _day(text: str, name: str) -> int:
    try:
        return datetime.date.fromisoformat(text[:10]).toordinal()
    except ValueError:
        message = f"{name} is {text!r}; give a date like 2024-01-31"
        raise CatalogueError(message) from None


def _by_column(records, groups, leaves, config_split) -> np.ndarray:
    parts = np.empty(len(records), "<U5")
    for i, record in enumerate(records):
        value = record.split.casefold()
        if value not in _OFFICIAL:
            raise CatalogueError(
                f"row {record.row}: split {record.split!r} is none of"
                f" {sorted(_OFFICIAL)}; correct the column of config.data.columns.split"
            )
        parts[i] = _OFFICIAL[value]
    if "val" in parts:
        return parts
    return _carve_val(records, groups, leaves, config_split, test=parts == "test")


def manifest_of(
    records: Sequence[Record], parts: np.ndarray, groups: np.ndarray
) -> str:
    """sha256 of the rows, their parts and their groups, in the order of the file."""
    digest, known = hashlib.sha256(), (*PARTS, LEFT_OUT)
    for record, part, group in zip(
        records, parts.tolist(), groups.tolist(), strict=True
    ):
        key = (record.id, *record.texts.values(), record.image_key, record.path)
        key += (record.admissible,) if record.admissible else ()
        digest.update(repr((key, known.index(part), group)).encode())
    return digest.hexdigest()


_RULES = {
    "group": _by_group,
    "row": _by_row,
    "platform": _by_platform,
    "date": _by_date,
    "column": _by_column,
}
