"""Evidence for chosen products of a catalogue, as files: see `write_evidence`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from hsjax.atomic import write_atomically
from hsjax.data.content import content_key
from hsjax.data.quarantine import CatalogueError
from hsjax.explanation.asked import Asked
from hsjax.explanation.chosen import chosen_rows, read_chosen
from hsjax.explanation.evidence import Evidence
from hsjax.explanation.page import SHOWN, write_page
from hsjax.explanation.precedents import open_precedents
from hsjax.explanation.shown import shown_pictures
from hsjax.inference.fingerprint import run_facts
from hsjax.inference.predict import Run, load_run
from hsjax.prediction.answering import Answering, Question
from hsjax.prediction.audit_record import audit_record, write_audit
from hsjax.prediction.known import Known
from hsjax.progress import progress

JSONL, PAGE, AUDIT = "evidence.jsonl", "evidence.html", "audit.json"


class Wish(NamedTuple):
    """Which products, and what of them.

    Attributes:
      rows, ids, first: that are asked about, see `chosen_rows`.
      precedents: how many by text, by image and by both; 0 = none, and the training
        part is not needed.
      image_root: folder of image paths, '' = the folder of the file.
    """

    rows: Sequence[int] = ()
    ids: Sequence[str] = ()
    first: int = 0
    precedents: int = 5
    image_root: str = ""


def write_evidence(
    workdir: Path | str,
    source: Path | str,
    output: Path | str,
    wish: Wish,
    *,
    features: Mapping[str, Path | str] = MappingProxyType({}),
) -> list[dict]:
    """Writes evidence.jsonl, evidence.html and audit.json into a folder.

    Args:
      workdir: of a trained run; source: a catalogue with its columns.
      features: modality -> folder, of feature stores of the run that have moved.

    Returns:
      What stands in evidence.jsonl.

    Raises:
      CatalogueError: an unreadable file, no such row or id, a run that knows no
        classes, an output that is something else.
      WorkdirError: no workdir of a run, or its catalogue has changed since.
    """
    workdir, source, output = Path(workdir), Path(source), Path(output)
    if output.is_file() or (output / "config.json").exists():
        raise CatalogueError(f"--output={output} is something else: name a new folder")
    run = load_run(workdir, features=features)
    if not run.config.objective.classification:
        raise CatalogueError(f"{workdir} has learnt no classes: train it with a head")
    asked_for = {"rows": wish.rows, "ids": wish.ids, "first": wish.first}
    rows = chosen_rows(run.config, source, **asked_for)
    how = {"image_root": wish.image_root, "whole": not wish.first}
    asked = Asked(run, read_chosen(run.config, source, rows, **how))
    facts = run_facts(workdir, run)
    found = _evidence(workdir, asked, facts["parameters"], wish.precedents)
    output.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(x, ensure_ascii=False, allow_nan=False) for x in found)
    text = "".join(f"{line}\n" for line in lines)
    write_atomically(output / JSONL, text.encode("utf-8", "replace").decode())
    audit = audit_record(
        run,
        facts,
        workdir=workdir,
        source=source,
        output=output / JSONL,
        rows=[x["row"] for x in found],
        image_root=wish.image_root,
        features={k: str(x) for k, x in features.items()},
    )
    write_audit(audit, output / AUDIT)
    shown = found[:SHOWN]
    write_page(output / PAGE, shown, shown_pictures(asked, shown), audit)
    return found


def answers_of(run: Run, asked: Asked) -> list[dict]:
    """The rows of `answer_table` of the products, as predict has them."""
    contents = [content_key(record) for record in asked.records]
    answering = Answering(run, Question(), Known([]))
    return answering.ask(asked.records, contents).to_pylist()


def _evidence(workdir: Path, asked: Asked, model: str, count: int) -> list[dict]:
    precedents = open_precedents(workdir, asked.run, model) if count else None
    evidence = Evidence(asked, precedents, count)
    answers = answers_of(asked.run, asked)
    bar = progress(answers, "evidence", total=len(answers), unit="products")
    return [evidence(place, answer) for place, answer in enumerate(bar)]
