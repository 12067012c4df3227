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
    twice; another one about the same answer takes the place of the earlier.

    Args:
      file: in which the decisions stood.

    Returns:
      How many were added, and how many of them took the place of another.

    Raises:
      CatalogueError: see `read_record`.
    """
    path, audit = record_path(answers), audit_path(answers)
    known = read_record(path)
    standing = in_force(known)
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


def in_force(entries: Sequence[Mapping]) -> dict[tuple[int, str], dict]:
    """The last decision about each answer, by its row and content."""
    return {(entry["row"], entry["content"]): dict(entry) for entry in entries}


def decided(path: Path, answers: Mapping[int, Answer]) -> dict[int, dict]:
    """By row, the decisions in force about these answers.

    Those of a row that holds another product by now are left out.
    """
    found = in_force(read_record(path))
    return {
        row: entry
        for (row, content), entry in found.items()
        if row in answers and answers[row].content == content
    }
