"""What a reviewer decided about proposed sub-categories: `decisions.json`."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from hsjax.spelling import meant
from hsjax.tree.codes import TaxonomyError, check_name

ACCEPT, REJECT, MERGE = ACTIONS = ("accept", "reject", "merge")
MOST_TOLD = 20  # flaws of one file


class Decision(NamedTuple):
    """About one cluster.

    Attributes:
      key: of the cluster.
      action: accept | reject | merge.
      name: of the new category; another than the proposed one renames it.
      into: key of the cluster that takes its products, '' unless it is merged.
      note: of the reviewer.
    """

    key: str
    action: str
    name: str
    into: str = ""
    note: str = ""


def read_decisions(
    path: Path | str,
    parents: Mapping[str, str],
    digest: str,
    *,
    separator: str = " > ",
) -> dict[str, Decision]:
    """A decision for each cluster, in the order of `parents`.

    The parts of a rejected or merged cluster are not kept without it: whatever the
    file says of them, they come back as rejected, and nothing else of theirs is
    checked.

    Args:
      parents: key of each proposed cluster -> key of the one that it is a part of, ''
        directly below the branch; a cluster comes after its parent.
      digest: of the proposals.
      separator: of the tree's paths.

    Raises:
      TaxonomyError: no such file, no JSON, about other proposals, or decisions that
        cannot be carried out together: a sentence each.
    """
    content = _content(Path(path), digest)
    found, flaws = {}, []
    for place, item in enumerate(content, start=1):
        try:
            decision = _decision(item, place, parents)
        except TaxonomyError as error:
            flaws.append(str(error))
            continue
        if decision.key in found:
            flaws.append(f"{decision.key!r} is decided twice: keep one of the two")
        found[decision.key] = decision
    if missing := [repr(key) for key in parents if key not in found]:
        flaws += [] if flaws else [f"no decision about {', '.join(missing)}"]
    if not flaws:
        found = _without_lost_parts(found, parents)
        flaws = [*_flaws(found, parents, separator)]
    if flaws:
        more = len(flaws) - MOST_TOLD
        told = flaws[:MOST_TOLD] + ([f"and {more} more"] if more > 0 else [])
        raise TaxonomyError(f"{path}: " + "\n".join(told))
    return found


def proposals_decided(path: Path | str) -> str:
    """The digest of the proposals that a file is about.

    Raises:
      TaxonomyError: no such file, or none that a review page wrote.
    """
    return str(_document(Path(path)).get("proposals"))


def _document(path: Path) -> dict:
    ours = "give the file that the review page's Download button wrote"
    try:
        # a text editor may have put a byte order mark before it
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise TaxonomyError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise TaxonomyError(f"{path} is no JSON ({error}): {ours}") from None
    if not isinstance(content, dict) or not isinstance(content.get("decisions"), list):
        raise TaxonomyError(f"{path} has no list of decisions: {ours}")
    return content


def _content(path: Path, digest: str) -> list:
    """What stands under `decisions`."""
    content = _document(path)
    if (about := content.get("proposals")) != digest:
        raise TaxonomyError(
            f"{path} decides about the proposals {about!r}, and these are {digest!r}:"
            " open the review page that was written with these"
        )
    return content["decisions"]


def _decision(item: object, place: int, known: Mapping[str, str]) -> Decision:
    """One entry of the list; what it says by itself is right."""
    if not isinstance(item, dict) or not isinstance(item.get("key"), str):
        raise TaxonomyError(f"decision {place} is no object with a key")
    key, fields = item["key"], Decision._fields
    if key not in known:
        raise TaxonomyError(f"no cluster has the key {key!r}.{meant(key, known)}")
    for field, value in item.items():
        if field not in fields:
            hint = meant(field, fields)
            raise TaxonomyError(f"{key!r}: the field {field!r} is unknown.{hint}")
        if not isinstance(value, str):
            raise TaxonomyError(f"{key!r}: {field} is {value!r}, which is no text")
    texts = {field: item.get(field, "").strip() for field in fields}
    action, into = texts["action"], texts["into"]
    if action not in ACTIONS:
        raise TaxonomyError(
            f"{key!r}: the action {action!r} is none of {', '.join(ACTIONS)}."
            f"{meant(action, ACTIONS)}"
        )
    if action == MERGE and into not in known:
        told = f"{into!r}, which no cluster has as its key" if into else "nothing"
        raise TaxonomyError(f"{key!r} is merged into {told}.{meant(into, known)}")
    if action != MERGE and into:
        raise TaxonomyError(
            f"{key!r}: the action is {action}, yet `into` names {into!r}: empty it, or"
            " make the action merge"
        )
    return Decision(**texts)


def _without_lost_parts(
    found: Mapping[str, Decision], parents: Mapping[str, str]
) -> dict[str, Decision]:
    kept: dict[str, Decision] = {}
    for key, parent in parents.items():
        lost = parent and kept[parent].action != ACCEPT
        x = found[key]
        kept[key] = x._replace(action=REJECT, into="") if lost else x
    return kept


def _flaws(
    found: Mapping[str, Decision], parents: Mapping[str, str], separator: str
) -> Iterator[str]:
    """A sentence for each pair of decisions that cannot both be carried out."""
    names: dict[tuple[str, str], str] = {}
    for key, x in found.items():
        if x.action == MERGE:
            yield from _merge_flaws(x, found, parents)
        if x.action != ACCEPT:
            continue
        if not x.name:
            yield f"{key!r} has no name: give one, or reject it"
            continue
        try:
            check_name(x.name, separator)
        except TaxonomyError as error:
            yield f"{key!r}: {error}: give another name"
        # to a reader of the tree they are the same
        name = (parents[key], " ".join(x.name.casefold().split()))
        if name in names:
            yield (
                f"{names[name]!r} and {key!r} are both named {x.name!r}: rename one, or"
                " merge them"
            )
        names.setdefault(name, key)


def _merge_flaws(
    x: Decision, found: Mapping[str, Decision], parents: Mapping[str, str]
) -> Iterator[str]:
    target = found[x.into]
    if x.into == x.key:
        yield f"{x.key!r} is merged into itself: choose another, or accept it"
    elif parents[x.into] != parents[x.key]:
        yield (
            f"{x.key!r} is merged into {x.into!r}, which is no part of the same"
            f" cluster: choose one below {parents[x.key] or 'the branch itself'!r}"
        )
    elif target.action == REJECT:
        yield f"{x.key!r} is merged into {x.into!r}, which is rejected: reject both"
    elif target.action == MERGE and target.into == x.key:
        yield f"{x.key!r} and {x.into!r} are merged into each other: accept one of them"
    elif target.action == MERGE:
        yield (
            f"{x.key!r} is merged into {x.into!r}, which is itself merged into"
            f" {target.into!r}: merge both into {target.into!r}"
        )
