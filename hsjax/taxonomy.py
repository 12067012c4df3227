"""The label tree as arrays.

A node is (level, id): `Men > Shoes` and `Women > Shoes` are two nodes. Ids are
append-only and stand in labels, heads and JSON.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from hsjax.codes import STOP, TaxonomyError
from hsjax.layout import Layout, make_layout

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Taxonomy:
    """The tree; equality and hash by content, arrays read-only, so that jit closes over
    it.

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
        _check(self)
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
        """From paths of node codes (see `codes`); missing parents appear.

        Args:
          paths: node codes, coarsest first.
          complete: per path, whether products end at its last node (default: all do).
          stop: `data` adds a STOP child where a complete path ends at an inner node,
            `all` to every inner node, `none` nowhere.
          names: code -> name; a path code without one is called by its last part.
        """
        paths = [tuple(path) for path in paths]
        complete = [True] * len(paths) if complete is None else list(complete)
        depth = max(map(len, paths), default=0)
        if not depth:
            raise TaxonomyError("no label to build a tree from")
        nodes = [{} for _ in range(depth)]  # code -> code of the parent
        for path in paths:
            for level, code in enumerate(path):
                parent = path[level - 1] if level else ""
                if nodes[level].setdefault(code, parent) != parent:
                    raise TaxonomyError(
                        f"{code!r} has two parents:"
                        f" {nodes[level][code]!r} and {parent!r}"
                    )
        inner = [set(nodes[i + 1].values()) for i in range(depth - 1)] + [set()]
        ends = [set() for _ in range(depth)]
        for path, ended in zip(paths, complete, strict=True):
            if path and ended and path[-1] in inner[len(path) - 1]:
                ends[len(path) - 1].add(path[-1])
        if stop != "data":
            ends = inner if stop == "all" else [set()] * depth
        names = names or {}
        levels, ids = [], {}
        for level in range(depth):
            rows = [
                (
                    c,
                    names.get(c) or (c.split(separator)[-1] if separator else c),
                    p,
                    False,
                )
                for c, p in nodes[level].items()
            ]
            if level:
                mark = separator or "/"
                rows += [(f"{c}{mark}{STOP}", STOP, c, True) for c in ends[level - 1]]
            rows = [(c, n, ids.get(p, 0), s) for c, n, p, s in sorted(rows)]
            ids = {row[0]: i for i, row in enumerate(rows)}
            levels.append(rows)
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
          at an
          inner node that has one. And whether the path leaves the tree: it is then cut
            to its
          deepest known ancestor.
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

    def to_dict(self) -> dict:
        """The document of `taxonomy.json`; levels count from 1."""
        nodes = [
            {
                "level": level + 1,
                "id": i,
                "code": str(self.codes[level][i]),
                "name": str(self.names[level][i]),
                "parent": int(self.parents[level][i]) if level else None,
                "stop": bool(self.stop[level][i]),
            }
            for level in range(self.num_levels)
            for i in range(self.sizes[level])
        ]
        return {
            "format": FORMAT,
            "edition": self.edition,
            "separator": self.separator,
            "nodes": nodes,
        }

    @cached_property
    def hash(self) -> str:
        """sha256 of the canonical JSON."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def save(self, path: Path | str) -> None:
        document = {**self.to_dict(), "hash": self.hash}
        Path(path).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path | str) -> "Taxonomy":
        """Reads `taxonomy.json`.

        Raises:
          TaxonomyError: not such a file, another format, or content that belies its
            hash.
        """
        try:
            document = json.loads(Path(path).read_text())
            if document["format"] != FORMAT:
                raise TaxonomyError(
                    f"{path} has format {document['format']}; {FORMAT} can be read"
                )
            levels = [[] for _ in range(max(n["level"] for n in document["nodes"]))]
            for n in sorted(document["nodes"], key=lambda n: (n["level"], n["id"])):
                if n["id"] != len(levels[n["level"] - 1]):
                    raise TaxonomyError(f"{path}: ids of level {n['level']} have a gap")
                row = (n["code"], n["name"], n["parent"] or 0, n["stop"])
                levels[n["level"] - 1].append(row)
            extra = {"edition": document["edition"], "separator": document["separator"]}
        except TaxonomyError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise TaxonomyError(f"{path} is not a taxonomy file: {error!r}") from None
        tree = cls.from_nodes(levels, **extra)
        if document.get("hash", tree.hash) != tree.hash:
            raise TaxonomyError(f"{path} was changed by hand: its hash does not fit")
        return tree

    def __eq__(self, other) -> bool:
        return isinstance(other, Taxonomy) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"Taxonomy({' > '.join(map(str, self.sizes))} nodes, {self.hash[:8]})"


def _check(tree: Taxonomy) -> None:
    for level, codes in enumerate(tree.codes):
        unique, counts = np.unique(codes, return_counts=True)
        if (counts > 1).any():
            raise TaxonomyError(
                f"level {level + 1} has {str(unique[counts > 1][0])!r} twice"
            )
        if (unique == "").any():
            raise TaxonomyError(f"level {level + 1} has a node without a code")
        above = tree.sizes[level - 1] if level else 1
        parents = tree.parents[level]
        if ((parents < 0) | (parents >= above)).any():
            raise TaxonomyError(
                f"level {level + 1} has a node whose parent does not exist"
            )
        if level and tree.stop[level - 1][parents].any():
            raise TaxonomyError(f"level {level} has a STOP node with children")
        if level:
            stops = parents[tree.stop[level]]
            if len(np.unique(stops)) < len(stops):
                raise TaxonomyError(
                    f"level {level + 1} has a node with two STOP children"
                )
    if tree.stop[0].any():
        raise TaxonomyError("a product cannot stop above level 1")
