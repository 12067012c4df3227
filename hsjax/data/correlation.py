"""Correlations: what the codes of one edition of a nomenclature became in another.

Editions differ by splits (1:n), merges (n:1) and moves (n:m), and those who draw up
tables of them disagree, so that every source is kept with its own rows.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple


class Link(NamedTuple):
    """A code that another one corresponds to, with its share and who says so."""

    code: str
    weight: float
    source: str

    def __str__(self) -> str:
        return f"{self.code} ({self.weight:.2g}, {self.source})"


class Pair(NamedTuple):
    """A row of a table: `code` corresponds to `other`; weight None = left blank."""

    code: str
    other: str
    weight: float | None
    source: str


Editions = tuple[str, str]
Hop = Mapping[str, Sequence[Link]]  # code -> what it corresponds to
UNCHANGED = "unchanged"  # source of a link of a code that no table names


class Correlation:
    """The links between codes of several editions, forwards and backwards.

    The weights of a code sum to 1 within a source, and a link's weight is the mean over
    the sources that speak of the code. Backwards they are those of the forward links,
    renormalised among the codes that lead to one (old codes taken as equally frequent),
    unless a table of that direction is given. Editions without a table of their own are
    joined by a chain of tables, HS 2012 to HS 2022 by HS 2017, whose weights multiply.

    Attributes:
      editions, sources: all that occur.
    """

    def __init__(
        self,
        tables: Mapping[Editions, Sequence[Pair]],
        own: Mapping[str, Collection[str]] = MappingProxyType({}),
    ):
        """
        Args:
          tables: (from edition, to edition) -> pairs.
          own: edition -> all of its codes, where they are known: see `backwards`.
        """
        found = {editions: forwards(pairs) for editions, pairs in tables.items()}
        inverse = {(b, a): backwards(x, own.get(a, ())) for (a, b), x in found.items()}
        self.editions = tuple(dict.fromkeys(x for pair in tables for x in pair))
        pairs = (pair for table in tables.values() for pair in table)
        self.sources = tuple(dict.fromkeys(pair.source for pair in pairs))
        self._given, self._hops = tables.keys(), inverse | found

    def forward(self, of: str, into: str) -> bool:
        """Do the tables lead from an edition to another as they are written?"""
        path = self._path(of, into)
        return path[:2] in self._given

    def chain(self, of: str, into: str) -> list[Hop]:
        """The tables from an edition to another, the shortest way; [] = there is none.

        An edition is at no distance from itself.
        """
        path = self._path(of, into)
        return [self._hops[pair] for pair in zip(path, path[1:], strict=False)]

    def _path(self, of: str, into: str) -> tuple[str, ...]:
        paths, seen = [(of,)], {of}
        for path in paths:
            if path[-1] == into:
                return path
            for edition in self.editions:
                if (path[-1], edition) in self._hops and edition not in seen:
                    seen.add(edition)
                    paths.append((*path, edition))
        return ()

    def links(self, code: str, *, of: str, into: str) -> tuple[Link, ...]:
        """What a code of edition `of` corresponds to in edition `into`, by weight.

        Its successors where `into` is younger, its predecessors where it is older. ()
        where no table names the code: then it is itself.
        """
        found, named = {code: (1.0, ())}, False
        for hop in self.chain(of, into):
            after: dict[str, tuple[float, tuple]] = {}
            for now, (weight, sources) in found.items():
                named |= now in hop
                for link in hop.get(now, (Link(now, 1.0, ""),)):
                    before, told = after.get(link.code, (0.0, ()))
                    told = (*told, *sources, *filter(None, (link.source,)))
                    after[link.code] = before + weight * link.weight, told
            found = after
        links = [Link(c, w, "; ".join(dict.fromkeys(s))) for c, (w, s) in found.items()]
        links.sort(key=lambda link: (-link.weight, link.code))
        return tuple(links) if named else ()

    def named(self, *, of: str, into: str) -> set[str]:
        """The codes that have `links`."""
        codes = {code for hop in self.chain(of, into) for code in hop}
        return {code for code in codes if self.links(code, of=of, into=into)}


def forwards(pairs: Iterable[Pair]) -> Hop:
    """The links of a table: see `Correlation` for their weights.

    The pairs of a code and a source have all a weight, or none.
    """
    told: dict[str, dict[str, list[Pair]]] = defaultdict(lambda: defaultdict(list))
    for pair in pairs:
        told[pair.code][pair.source].append(pair)
    found = {}
    for code, sources in told.items():
        shares: dict[str, tuple[float, list[str]]] = {}
        for source, rows in sources.items():
            weights = [1.0 if row.weight is None else row.weight for row in rows]
            for row, weight in zip(rows, weights, strict=True):
                share, names = shares.get(row.other, (0.0, []))
                share += weight / sum(weights) / len(sources)
                shares[row.other] = share, [*names, source]
        found[code] = _links(shares)
    return found


def backwards(hop: Hop, own: Collection[str]) -> Hop:
    """The links of a table read from right to left.

    Args:
      own: codes of the edition on the left, as far as they are known: one that the
        table does not name went to itself, beside what else did.
    """
    shares: dict[str, dict[str, tuple[float, list[str]]]] = defaultdict(dict)
    for code, links in hop.items():
        for link in links:
            shares[link.code][code] = link.weight, [link.source]
    for code, found in shares.items():
        if code in own and code not in hop:
            found[code] = 1.0, [UNCHANGED]
    return {code: _links(found) for code, found in shares.items()}


def _links(shares: Mapping[str, tuple[float, Sequence[str]]]) -> tuple[Link, ...]:
    """By weight, which sums to 1."""
    total = sum(share for share, _ in shares.values())
    links = [Link(c, w / total, "; ".join(names)) for c, (w, names) in shares.items()]
    return tuple(sorted(links, key=lambda link: (-link.weight, link.code)))
