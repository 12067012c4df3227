"""What answers were made of, and by what, so that they can be made again."""

import contextlib
import dataclasses
import datetime
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hsjax.atomic import file_hash, write_atomically
from hsjax.data.prepared import MANIFEST, is_prepared
from hsjax.data.quarantine import CatalogueError
from hsjax.inference.predict import Run
from hsjax.prediction.cascaded import Cascaded
from hsjax.prediction.origins import origin_here
from hsjax.train.config import config_hash, read_config

Places = tuple[Path | str, Path | str, Path | str]  # workdir, catalogue, output

FORMAT = 1
PLACES = ("workdir", "path")  # no part of an answer
NOTE = (
    "What these answers were made of and by, so that they can be made again. A code is"
    " a suggestion of a statistical model and no legal ruling: who declares goods"
    " answers for their classification."
)


def audit_path(output: Path) -> Path:
    """Of the record beside an output."""
    return output.with_name(f"{output.name}.audit.json")


def audit_record(
    run: Run | Cascaded,
    facts: Mapping,
    places: Places,
    *,
    also: Sequence[Path] = (),
    earlier: Mapping | None = None,
    origins: Sequence[Mapping] = (),
    **asked,
) -> dict:
    """All that decides an answer, as hashes, and what it takes to ask again.

    Args:
      facts: `run_facts` and `answer_facts` of the run.
      places: its workdir, the catalogue, and the output, which is there.
      also: other files that were made of them; their hashes stand by their names.
      earlier: what is to be known of an output of which answers were taken over.
      origins: of `origins_of`; () = this process has made all answers. `batch` and
        `environment` are those of most answers; where there are several, all of them
        stand in `origins` too.
      asked: what else the answers hang on; dataclasses and paths become JSON.
    """
    most = max(origins, key=lambda x: x["rows"]) if origins else origin_here(run)
    workdir, source, output = (Path(x).resolve() for x in places)
    return {
        "format": FORMAT,
        "note": NOTE,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.orig_argv),
        "model": {
            "workdir": str(workdir),
            "calibration": None,
            **facts,
            "config": config_hash(read_config(workdir)),
        },
        "taxonomy": {"edition": run.tree.edition, "sha256": run.tree.hash},
        "input": {"path": str(source), "sha256": source_hash(source)},
        "output": {"path": str(output), "sha256": file_hash(output)},
        "also": {path.name: file_hash(path) for path in also},
        "earlier": earlier,
        "asked": json.loads(json.dumps(asked, default=_plain)),
        "batch": most["batch"],
        "environment": most["environment"],
        **({"origins": [*origins]} if len(origins) > 1 else {}),
    }


def _plain(value):
    """What JSON has no word for."""
    if dataclasses.is_dataclass(value):
        return dataclasses.asdict(value)
    return dict(value) if isinstance(value, Mapping) else str(value)


def keep_audit(
    run: Run | Cascaded,
    facts: Mapping,
    places: Places,
    *,
    kept: int,
    **asked,
) -> None:
    """Writes the record beside an output, unless the one there says the same.

    What was answered again, and is what it was, is not recorded again; where model,
    tree, catalogue or question are others, the record tells so.

    Args:
      kept: answers that were taken over from an earlier output, whose record gives way
        to this one and is named in it by its hash.
      asked: and origins, see `audit_record`.
    """
    path, earlier = audit_path(Path(places[2])), None
    if path.is_file():
        earlier = {"audit": file_hash(path), "kept": kept}
    record = audit_record(run, facts, places, earlier=earlier, **asked)
    with contextlib.suppress(CatalogueError):
        if earlier and _decisive(read_audit(path)) == _decisive(record):
            return
    write_audit(record, path)


def _decisive(record: Mapping) -> dict:
    """What a record says of an output, wherever it lies, whoever wrote which part."""
    found = {
        part: {k: x for k, x in record[part].items() if k not in PLACES}
        for part in ("model", "taxonomy", "input", "output", "asked")
    }
    question = found["asked"].get("question")
    if question:
        found["asked"]["question"] = {**question, "shard": None}
    return found


def source_hash(source: Path) -> str:
    """sha256 of a file; of a prepared folder, of its manifest, which has the rest."""
    return file_hash(source / MANIFEST if is_prepared(source) else source)


def write_audit(record: Mapping, path: Path) -> None:
    """The record as JSON, for `read_audit`."""
    write_atomically(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def read_audit(path: Path) -> dict:
    """What `write_audit` wrote.

    Raises:
      CatalogueError: there is no such file, or it is no such record.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CatalogueError(f"{path}: no audit record to read: {error}") from None
    if not isinstance(found, dict) or "model" not in found:
        raise CatalogueError(
            f"{path} is no audit record: predict writes OUTPUT.audit.json"
        )
    if found.get("format") != FORMAT:
        raise CatalogueError(
            f"{path}: format {found.get('format')!r}, not {FORMAT}: it is of another"
            " version of hsjax"
        )
    return found
