"""The record of all decisions about a file of answers: lines that are only added.

ANSWERS.decisions.jsonl has a line for each decision. Each holds the hash of the line
before it, and ANSWERS.decisions.jsonl.head how many there are and the hash of the last:
none is changed, added or taken out by hand, or by a program that knows nothing of it,
unseen. Whoever writes both files anew can: a copy of the head that lies elsewhere shows
it. Each line also has the hashes of the answers and of their audit record, by which it
is known what was decided about.
"""

import contextlib
import datetime
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hsjax.atomic import file_hash, lock, write_atomically
from hsjax.data.quarantine import CatalogueError
from hsjax.prediction.audit_record import audit_path
from hsjax.reviewing.decisions import Answer, Decision
from hsjax.taxonomy import Taxonomy

log = logging.getLogger("hsjax")


def record_path(answers: Path) -> Path:
    """Beside the answers."""
    return answers.with_name(f"{answers.name}.decisions.jsonl")


def head_path(record: Path) -> Path:
    """Of how many lines a record has, and the hash of the last one."""
    return record.with_name(f"{record.name}.head")


def read_record(path: Path) -> list[dict]:
    """Every line, [] where nothing was decided yet.

    Raises:
      CatalogueError: a line was changed, added, taken out or torn.
    """
    heads = _heads(path)
    lines = _lines(path)
    heads += _heads(path)  # another process may just have added to it
    found, before = [], ""
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            sound = entry["previous"] == before and entry["number"] == number
        except (ValueError, TypeError, KeyError):
            sound = False
        if not sound:
            raise CatalogueError(
                f"{path}, line {number}: it does not follow from the line before:"
                f" {_CHANGED}"
            )
        found.append(entry)
        before = _hash(line)
    if (found or heads) and [len(found), before] not in heads:
        known = f"ends with another line {heads[-1][0]:,}" if heads else "is gone"
        raise CatalogueError(
            f"{path}, line {len(found)}: {head_path(path).name} {known}: {_CHANGED}"
        )
    return found


_CHANGED = (
    "the record was changed after it was written; bring back a copy of both files"
)


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines() if path.is_file() else []


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _heads(path: Path) -> list[list]:
    """[count of lines, hash of the last] of the record: as it is, or was to be."""
    place = head_path(path)
    try:
        return json.loads(place.read_text()) if place.is_file() else []
    except ValueError:
        raise CatalogueError(f"{place} is torn: {_CHANGED}") from None


def _write(path: Path, lines: Sequence[bytes], before: int) -> None:
    """The record with more lines; cut off anywhere, it is as it was or as it is now."""
    then, now = ([n, _hash(lines[n - 1]) if n else ""] for n in (before, len(lines)))
    write_atomically(head_path(path), json.dumps([then, now]) + "\n")
    write_atomically(path, b"".join(line + b"\n" for line in lines).decode())
    write_atomically(head_path(path), json.dumps([now]) + "\n")


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Inside, no other process adds to the record: it is waited for."""
    with path.with_name(f".{path.name}.claim").open("a") as file:
        if not lock(file, wait=True):
            log.warning("%s: no locks here; let one process alone add to it", path)
        yield


def merge(
    decisions: Sequence[Decision], answers: Path, tree: Taxonomy, *, file: Path
) -> tuple[int, int]:
    """Adds decisions to the record of their answers.

    One that stands there already is not written again, so that a file can be merged
    twice; another one about the same answer takes the place of the earlier. Codes of
    another tree mean something else, and so do decisions about them.

    Args:
      file: in which the decisions stood.

    Returns:
      How many were added, and how many of them took the place of another.

    Raises:
      CatalogueError: see `read_record`.
    """
    path = record_path(answers)
    with _alone(path):
        known = read_record(path)
        added = _new(decisions, known, tree)
        lines, fixed = _lines(path), _fixed(answers, tree, file)
        for told in added:
            before = _hash(lines[-1]) if lines else ""
            chain = {"number": len(lines) + 1, "previous": before}
            text = json.dumps({**chain, **told, **fixed}, ensure_ascii=False)
            lines.append(text.encode("utf-8", "replace"))
        if added:
            _write(path, lines, len(known))
    return len(added), sum(told["supersedes"] is not None for told in added)


def _new(
    decisions: Sequence[Decision], known: Sequence[Mapping], tree: Taxonomy
) -> list[dict]:
    """What the record does not say yet, and which line says another thing."""
    found, standing = [], in_force(known, tree.hash)
    for x in decisions:
        told = {**x._asdict(), **x.answer._asdict()}
        del told["answer"]
        earlier = standing.get((x.answer.row, x.answer.content))
        if earlier and all(earlier[name] == value for name, value in told.items()):
            continue
        found.append({"supersedes": earlier and earlier["number"], **told})
    return found


def _fixed(answers: Path, tree: Taxonomy, file: Path) -> dict:
    """What all lines of one merge say."""
    audit = audit_path(answers)
    return {
        "taxonomy": tree.hash,
        "answers": file_hash(answers),
        "audit": file_hash(audit) if audit.is_file() else None,
        "file": file.name,
        "recorded": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def in_force(entries: Sequence[Mapping], tree: str) -> dict[tuple[int, str], dict]:
    """The last decision about each answer in codes of a tree, by row and content."""
    own = (entry for entry in entries if entry["taxonomy"] == tree)
    return {(entry["row"], entry["content"]): dict(entry) for entry in own}


class Decided(NamedTuple):
    """What is decided about some answers.

    Attributes:
      entries: the decisions in force, by row.
      foreign: answers about which something is decided in codes of other trees alone.
      moved: rows about which something is decided, and which hold another product now.
    """

    entries: dict[int, dict]
    foreign: int
    moved: int

    def told(self) -> str:
        """A sentence on what does not count, '' = nothing."""
        told = []
        if self.foreign:
            told.append(
                f"{self.foreign:,} are decided in codes of another tree and left out:"
                " merge their files again where they still hold"
            )
        if self.moved:
            told.append(
                f"{self.moved:,} decisions are left out: their rows hold another"
                " product by now, or are gone"
            )
        return "; ".join(told)


def decided(path: Path, answers: Mapping[int, Answer], tree: str) -> Decided:
    """What the record says of these answers, whose codes are of a tree of this hash.

    What it says of a row that holds another product by now is left out.
    """
    entries, rows = [], set()
    for entry in read_record(path):
        rows.add(entry["row"])
        own = answers.get(entry["row"])
        if own and own.content == entry["content"]:
            entries.append(entry)
    found = {row: x for (row, _), x in in_force(entries, tree).items()}
    here = {entry["row"] for entry in entries}
    return Decided(found, len(here - found.keys()), len(rows - here))
