"""The record of all decisions about a file of answers: lines that are only added.

ANSWERS.decisions.jsonl has a line for each decision. Each holds the hash of the line
before it, so that none can be changed or taken out unseen, and the hashes of the
answers and of their audit record, by which it is known what was decided about.
"""

import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hsjax.atomic import file_hash, write_atomically
from hsjax.data.quarantine import CatalogueError
from hsjax.prediction.audit_record import audit_path
from hsjax.reviewing.decisions import Answer, Decision
from hsjax.taxonomy import Taxonomy


def record_path(answers: Path) -> Path:
    """Beside the answers."""
    return answers.with_name(f"{answers.name}.decisions.jsonl")


def read_record(path: Path) -> list[dict]:
    """Every line, [] where nothing was decided yet.

    Raises:
      CatalogueError: a line was changed, taken out or torn.
    """
    if not path.is_file():
        return []
    found, before = [], ""
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            entry = json.loads(line)
            sound = entry["previous"] == before and entry["number"] == number
        except (ValueError, TypeError, KeyError):
            sound = False
        if not sound:
            raise CatalogueError(
                f"{path}, line {number}: it does not follow from the line before: the"
                " record was changed after it was written; bring back a copy of it"
            )
        found.append(entry)
        before = hashlib.sha256(line).hexdigest()
    return found


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
    path, audit = record_path(answers), audit_path(answers)
    known = read_record(path)
    standing = in_force(known, tree.hash)
    lines = path.read_bytes().splitlines() if known else []
    fixed = {
        "taxonomy": tree.hash,
        "answers": file_hash(answers),
        "audit": file_hash(audit) if audit.is_file() else None,
        "file": file.name,
        "recorded": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    added = replaced = 0
    for x in decisions:
        told = {**x._asdict(), **x.answer._asdict()}
        del told["answer"]
        earlier = standing.get((x.answer.row, x.answer.content))
        if earlier and all(earlier[name] == value for name, value in told.items()):
            continue
        before = hashlib.sha256(lines[-1]).hexdigest() if lines else ""
        chain = {"number": len(lines) + 1, "previous": before}
        chain["supersedes"] = earlier["number"] if earlier else None
        text = json.dumps({**chain, **told, **fixed}, ensure_ascii=False)
        lines.append(text.encode("utf-8", "replace"))
        added, replaced = added + 1, replaced + bool(earlier)
    if added:
        write_atomically(path, b"".join(line + b"\n" for line in lines).decode())
    return added, replaced


def in_force(entries: Sequence[Mapping], tree: str) -> dict[tuple[int, str], dict]:
    """The last decision about each answer in codes of a tree, by row and content."""
    own = (entry for entry in entries if entry["taxonomy"] == tree)
    return {(entry["row"], entry["content"]): dict(entry) for entry in own}


class Decided(NamedTuple):
    """What is decided about some answers.

    Attributes:
      entries: the decisions in force, by row.
      foreign: answers about which something is decided in codes of other trees alone.
    """

    entries: dict[int, dict]
    foreign: int

    def told(self) -> str:
        """A sentence on what does not count, '' = nothing."""
        if not self.foreign:
            return ""
        return (
            f"{self.foreign:,} are decided in codes of another tree and left out: merge"
            " their files again where they still hold"
        )


def decided(path: Path, answers: Mapping[int, Answer], tree: str) -> Decided:
    """What the record says of these answers, whose codes are of a tree of this hash.

    What it says of a row that holds another product by now is left out.
    """
    entries = [
        entry
        for entry in read_record(path)
        if (own := answers.get(entry["row"])) and own.content == entry["content"]
    ]
    found = {row: x for (row, _), x in in_force(entries, tree).items()}
    return Decided(found, len({entry["row"] for entry in entries} - found.keys()))
