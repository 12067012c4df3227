"""A change of a label tree as JSON that people read and edit.

A diff says what tree it starts from, and operations in order, each with where it comes
from; `change.apply_diff` applies it.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from hsjax.atomic import write_atomically
from hsjax.spelling import meant
from hsjax.tree.codes import TaxonomyError

FORMAT = 1
KINDS = ("add", "split", "rename", "merge")
# fields of the file, and of an operation beside its kind and level, as they are empty
DOCUMENT = MappingProxyType(
    {"base": "", "edition": "", "operations": [], "clusters": {}}
)
OPERATION = MappingProxyType(
    {"code": "", "into": [], "name": "", "codes": [], "from": {}}
)


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
        # a text editor may have put a byte order mark before it
        document = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise TaxonomyError(f"{path}: there is no such file") from None
    except OSError as error:
        raise TaxonomyError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise TaxonomyError(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise TaxonomyError(f"{path} is no diff of format {FORMAT}")
    _check_fields(document, ("format", *DOCUMENT), str(path))
    told = {k: _field(document, k, empty, str(path)) for k, empty in DOCUMENT.items()}
    if not all(isinstance(x, str) for x in told["clusters"].values()):
        raise TaxonomyError(f"{path}: `clusters` gives each cluster the code of a node")
    found = told.pop("operations")
    operations = tuple(
        _read_operation(x, f"{path}, operation {i}") for i, x in enumerate(found, 1)
    )
    return Diff(operations=operations, **told)


def _check_fields(found: Mapping, known: Collection[str], place: str) -> None:
    """TaxonomyError: a field that nothing would come of."""
    for field in found:
        if field not in known:
            told = f"{place}: the field {field!r} is unknown.{meant(field, known)}"
            raise TaxonomyError(f"{told} Known: {', '.join(known)}")


def _field(found: Mapping, name: str, empty: object, place: str):
    """What stands under a name, `empty` where it is absent or null.

    Raises:
      TaxonomyError: it is of another kind than `empty`.
    """
    value = found.get(name)
    value = type(empty)() if value is None else value
    if not isinstance(value, type(empty)):
        kinds = {str: "a text", list: "a list", dict: "an object"}
        told = f"`{name}` is {value!r} and has to be {kinds[type(empty)]}"
        raise TaxonomyError(f"{place}: {told}")
    return value


def _read_operation(found: object, place: str) -> Operation:
    if not isinstance(found, dict):
        raise TaxonomyError(f"{place}: it is {found!r} and has to be an object")
    _check_fields(found, ("kind", "level", *OPERATION), place)
    kind, level = found.get("kind"), found.get("level")
    if kind not in KINDS:
        told = f"{place}: kind is {kind!r}.{meant(str(kind), KINDS)}"
        raise TaxonomyError(f"{told} Known: {', '.join(KINDS)}")
    told = {k: _field(found, k, empty, place) for k, empty in OPERATION.items()}
    if type(level) is not int or not told["code"]:
        raise TaxonomyError(f"{place}: it needs a level (a number) and a code (text)")
    for x in told["into"]:
        if not isinstance(x, dict) or x.keys() != {"code", "name"}:
            raise TaxonomyError(f"{place}: `into` lists objects of code and name")
    into = tuple((x["code"], x["name"]) for x in told["into"])
    if not all(isinstance(x, str) for x in (*told["codes"], *sum(into, ()))):
        raise TaxonomyError(f"{place}: codes and names are text")
    return Operation(
        kind=kind,
        code=told["code"],
        level=level,
        into=into,
        name=told["name"],
        codes=tuple(told["codes"]),
        provenance=told["from"],
    )
