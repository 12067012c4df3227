"""A change of a label tree as JSON that people read and edit.

A diff says what tree it starts from, and operations in order, each with where it comes
from; `taxonomy_change` applies it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from hsjax.atomic import write_atomically
from hsjax.codes import TaxonomyError
from hsjax.spelling import meant

FORMAT = 1
KINDS = ("add", "split", "rename", "merge")


class Operation(NamedTuple):
    """One change.

    Attributes:
      kind: add (a node below `code`) | split (of the leaf `code` into two nodes or
        more) | rename (`code` gets a name, and keeps its code) | merge (`codes` become
        `code`, which is one of them).
      level: of `code`, counted from 1.
      into: add and split: (code, name) of every new node.
      name: rename and merge: what `code` is called from now on; '' = as before.
      codes: merge: siblings of one level, `code` among them.
      provenance: where the change comes from, for people: run, cluster, size, reviewer.
    """

    kind: str
    code: str
    level: int
    into: tuple[tuple[str, str], ...] = ()
    name: str = ""
    codes: tuple[str, ...] = ()
    provenance: Mapping[str, object] = MappingProxyType({})


class Diff(NamedTuple):
    """Operations on a tree, in order.

    Attributes:
      base: hash of the tree they start from; '' = any tree that has their codes.
      edition: of the new tree; '' = that of the old one.
      clusters: cluster of a discovery -> code of the node that its products go to.
    """

    base: str
    operations: tuple[Operation, ...]
    edition: str = ""
    clusters: Mapping[str, str] = MappingProxyType({})


def write_diff(diff: Diff, path: Path | str) -> None:
    """As JSON that people edit."""
    operations = []
    for o in diff.operations:
        into = [{"code": code, "name": name} for code, name in o.into]
        found = {"kind": o.kind, "level": o.level, "code": o.code, "into": into}
        found |= {"name": o.name, "codes": list(o.codes)}
        found = {k: v for k, v in found.items() if v} | {"from": dict(o.provenance)}
        operations.append(found)
    document = {"format": FORMAT, "base": diff.base, "edition": diff.edition}
    document |= {"operations": operations, "clusters": dict(diff.clusters)}
    write_atomically(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def read_diff(path: Path | str) -> Diff:
    """Raises TaxonomyError: no such file, or not a diff; names the operation."""
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TaxonomyError(f"{path}: there is no such file") from None
    except ValueError as error:
        raise TaxonomyError(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise TaxonomyError(f"{path} is no diff of format {FORMAT}")
    operations = tuple(
        _read_operation(found, f"{path}, operation {number}")
        for number, found in enumerate(document.get("operations", ()), 1)
    )
    told = {k: document.get(k) or "" for k in ("base", "edition")}
    return Diff(operations=operations, clusters=document.get("clusters") or {}, **told)


def _read_operation(found: object, place: str) -> Operation:
    known = {"kind", "level", "code", "into", "name", "codes", "from"}
    if not isinstance(found, dict) or set(found) - known:
        raise TaxonomyError(f"{place}: it is an object of {', '.join(sorted(known))}")
    kind, level = found.get("kind"), found.get("level")
    if kind not in KINDS:
        told = f"{place}: kind is {kind!r}.{meant(str(kind), KINDS)}"
        raise TaxonomyError(f"{told} Known: {', '.join(KINDS)}")
    if not isinstance(level, int) or not isinstance(found.get("code"), str):
        raise TaxonomyError(f"{place}: it needs a level (a number) and a code (text)")
    try:
        into = tuple((x["code"], x["name"]) for x in found.get("into", ()))
    except (KeyError, TypeError):
        raise TaxonomyError(f"{place}: `into` lists objects of code and name") from None
    codes, name = tuple(found.get("codes", ())), found.get("name", "")
    if not all(isinstance(x, str) for x in (*codes, name, *sum(into, ()))):
        raise TaxonomyError(f"{place}: codes and names are text")
    return Operation(
        kind, found["code"], level, into, name, codes, found.get("from", {})
    )
