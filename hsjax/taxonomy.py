"""The label tree as arrays.

A node is (level, id): `Men > Shoes` and `Women > Shoes` are two nodes. Ids are
append-only and stand in labels, heads and JSON.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from hsjax.tree.codes import STOP, TaxonomyError
from hsjax.tree.document import (
    content_hash,
    make_document,
    read_document,
    write_document,
)
from hsjax.tree.layout import Layout, make_layout
from hsjax.tree.nodes import check_nodes, rows_from_paths, stop_code


@dataclass(frozen=True, eq=False)
class Taxonomy:
    """The tree; equality and hash by content, arrays read-only: jit closes over it.

    Attributes:
      codes: per level (C,) unique node codes, by id.
      names: per level (C,) names for people, by id.
      parents: per level (C,) int32 ids one level up (zeros at level 0).
      stop: per level (C,) bool: the STOP child of a node at which products may end.
      edition: free text such as `HS 2022`.
      separator: between the parts of path codes; '' for HS codes.
    """

    codes: tuple[np.ndarray, ...]
    names: tuple[np.ndarray, ...]
    parents: tuple[np.ndarray, ...]
    stop: tuple[np.ndarray, ...]
    edition: str = ""
    separator: str = ""

    def __post_init__(self):
        check_nodes(self.codes, self.parents, self.stop)
        for arrays in (self.codes, self.names, self.parents, self.stop):
            for array in arrays:
                array.flags.writeable = False

    @classmethod
    def from_nodes(
        cls,
        levels: Sequence[Sequence[tuple]],
        *,
        edition: str = "",
        separator: str = "",
    ) -> "Taxonomy":
        """From rows (code, name, parent id, stop), per level in the order of ids."""
        if not levels or not all(len(level) for level in levels):
            raise TaxonomyError("a tree needs at least one node on every level")
        columns = [list(zip(*level, strict=True)) for level in levels]
        return cls(
            codes=tuple(np.array(c[0], dtype=str) for c in columns),
            names=tuple(np.array(c[1], dtype=str) for c in columns),
            parents=tuple(np.array(c[2], dtype=np.int32) for c in columns),
            stop=tuple(np.array(c[3], dtype=bool) for c in columns),
            edition=edition,
            separator=separator,
        )

    @classmethod
    def from_paths(
        cls,
        paths: Iterable[Sequence[str]],
        *,
        complete: Iterable[bool] | None = None,
        stop: str = "data",
        names: Mapping[str, str] | None = None,
        edition: str = "",
        separator: str = "",
    ) -> "Taxonomy":
        """From paths of node codes, coarsest first; missing parents appear.

        Args:
          complete: per path, whether products end at its last node (default: all do).
          stop: `data` adds a STOP child where a complete path ends at an inner node,
            `all` to every inner node, `none` nowhere.
          names: code -> name; a path code without one is called by its last part.
        """
        paths = [tuple(path) for path in paths]
        levels = rows_from_paths(
            paths,
            complete=[True] * len(paths) if complete is None else list(complete),
            stop=stop,
            names=names or {},
            separator=separator,
        )
        return cls.from_nodes(levels, edition=edition, separator=separator)

    @property
    def num_levels(self) -> int:
        return len(self.codes)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """C of every level, STOP children included."""
        return tuple(len(codes) for codes in self.codes)

    @cached_property
    def leaf(self) -> tuple[np.ndarray, ...]:
        """Per level (C,) bool by id: nodes without children, where a path ends."""
        counts = [
            np.bincount(parents, minlength=size)
            for parents, size in zip(self.parents[1:], self.sizes, strict=False)
        ]
        return tuple(c == 0 for c in counts) + (np.ones(self.sizes[-1], bool),)

    @cached_property
    def ancestors(self) -> tuple[np.ndarray, ...]:
        """Per level (C, L) int32 by id: the path down to the node, -1 below it."""
        tables = []
        for level, parents in enumerate(self.parents):
            table = np.full((len(parents), self.num_levels), -1, np.int32)
            if level:
                table[:, :level] = tables[-1][parents, :level]
            table[:, level] = np.arange(len(parents))
            tables.append(table)
        return tuple(tables)

    @cached_property
    def layout(self) -> tuple[Layout, ...]:
        """Per level the order in which siblings are contiguous (see `layout`)."""
        return make_layout(self.parents)

    @cached_property
    def _ids(self) -> tuple[dict[str, int], ...]:
        return tuple(
            {c: i for i, c in enumerate(codes.tolist())} for codes in self.codes
        )

    @cached_property
    def _stop_child(self) -> tuple[dict[int, int], ...]:
        pairs = [
            {int(p): i for i, (p, s) in enumerate(zip(parents, stop, strict=True)) if s}
            for parents, stop in zip(self.parents[1:], self.stop[1:], strict=True)
        ]
        return (*pairs, {})

    def encode(
        self, path: Sequence[str], complete: bool = True
    ) -> tuple[np.ndarray, bool]:
        """Ids of a path of node codes.

        Returns:
          (L,) int32, -1 where there is none; the STOP child where a complete path ends
          at an inner node that has one. And whether the path leaves the tree: it is
          then cut to its deepest known ancestor.
        """
        labels = np.full(self.num_levels, -1, np.int32)
        for level, code in enumerate(path):
            found = self._ids[level].get(code) if level < self.num_levels else None
            if found is None or self.stop[level][found]:
                return labels, True
            labels[level] = found
        last = len(path) - 1
        if complete and path and labels[last] in self._stop_child[last]:
            labels[last + 1] = self._stop_child[last][labels[last]]
        return labels, False

    def decode(self, labels: Sequence[int] | np.ndarray) -> tuple[str, ...]:
        """Node codes of (L,) ids; -1 and STOP children are left out."""
        return tuple(
            str(self.codes[level][i])
            for level, i in enumerate(labels)
            if i >= 0 and not self.stop[level][i]
        )

    def top(self, levels: int) -> "Taxonomy":
        """The coarsest `levels` levels, which are a tree themselves."""
        parts = (self.codes, self.names, self.parents, self.stop)
        return Taxonomy(
            *(part[:levels] for part in parts), self.edition, self.separator
        )

    def valid(self, labels: np.ndarray) -> np.ndarray:
        """(N,) bool: is each row of (N, L) ids a path from level 0 to any depth?"""
        ok = labels[:, 0] >= 0
        for level in range(1, self.num_levels):
            here, above = labels[:, level], labels[:, level - 1]
            ok &= (here < 0) | ((above >= 0) & (self.parents[level][here] == above))
        return ok

    def with_stops(self, nodes: Iterable[tuple[int, int]]) -> "Taxonomy":
        """The tree with a STOP child below each of these inner nodes (level, id).

        Every node keeps its id; nodes that have a STOP child stay as they are.

        Raises:
          TaxonomyError: a node without children.
        """
        levels = self._rows()
        for level, i in sorted(set(nodes)):
            code = str(self.codes[level][i])
            if self.leaf[level][i]:
                raise TaxonomyError(f"{code!r} has no children")
            if i not in self._stop_child[level]:
                row = (stop_code(code, self.separator), STOP, i, True)
                levels[level + 1].append(row)
        return Taxonomy.from_nodes(
            levels, edition=self.edition, separator=self.separator
        )

    def _rows(self) -> list[list[tuple]]:
        columns = zip(self.codes, self.names, self.parents, self.stop, strict=True)
        return [list(zip(*(x.tolist() for x in c), strict=True)) for c in columns]

    def to_dict(self) -> dict:
        """The document of `taxonomy.json`; levels count from 1."""
        return make_document(
            self._rows(), edition=self.edition, separator=self.separator
        )

    @cached_property
    def hash(self) -> str:
        """sha256 of the canonical JSON."""
        return content_hash(self.to_dict())

    def save(self, path: Path | str) -> None:
        write_document(self.to_dict(), path)

    @classmethod
    def load(cls, path: Path | str) -> "Taxonomy":
        """Reads `taxonomy.json`.

        Raises:
          TaxonomyError: not such a file, another format, or changed by hand.
        """
        return cls.from_nodes(**read_document(path))

    def __eq__(self, other) -> bool:
        return isinstance(other, Taxonomy) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"Taxonomy({' > '.join(map(str, self.sizes))} nodes, {self.hash[:8]})"
