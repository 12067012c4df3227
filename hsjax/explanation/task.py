"""Evidence for chosen products of a catalogue, as files: see `write_evidence`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pyarrow.parquet as pq

from hsjax.atomic import finished, write_atomically
from hsjax.data.cost_file import own_codes
from hsjax.data.quarantine import CatalogueError
from hsjax.explanation.asked import Asked
from hsjax.explanation.chosen import chosen_rows, read_chosen
from hsjax.explanation.evidence import Evidence
from hsjax.explanation.page import SHOWN, write_page
from hsjax.explanation.precedents import open_precedents
from hsjax.explanation.sanity import sanity
from hsjax.explanation.shown import shown_pictures
from hsjax.inference.predict import Run
from hsjax.prediction.answering import answers_of
from hsjax.prediction.answering_run import answering_run
from hsjax.prediction.audit_record import audit_record, write_audit
from hsjax.prediction.prefixes import prefixes_of
from hsjax.prediction.question import Question
from hsjax.prediction.source import check_apart
from hsjax.progress import progress

JSONL, PAGE = "evidence.jsonl", "evidence.html"
FIRST = 20  # products that predict asks evidence of
ANSWERS, AUDIT = "answers.parquet", "audit.json"


class Wish(NamedTuple):
    """Which products, and what of them.

    Attributes:
      rows, ids, first: that are asked about, see `chosen_rows`.
      precedents: how many by text, by image and by both; 0 = none, and the training
        part is not needed.
      image_root: folder of image paths, '' = the folder of the file.
      sanity: are the attributions to be put to the test, see `sanity`?
      calibration: of `calibration_path`; cost_matrix: file of costs of mistakes.
      question: what else is asked, as of `predict_catalogue`.
    """

    rows: Sequence[int] = ()
    ids: Sequence[str] = ()
    first: int = 0
    precedents: int = 5
    image_root: str = ""
    sanity: bool = False
    calibration: Path | str = ""
    cost_matrix: Path | str = ""
    question: Question = Question()


def write_evidence(
    workdir: Path | str,
    source: Path | str,
    output: Path | str,
    wish: Wish,
    *,
    features: Mapping[str, Path | str] = MappingProxyType({}),
) -> list[dict]:
    """Writes evidence.jsonl, evidence.html, answers.parquet and audit.json.

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
    check_folder(output, {"--input": source})
    files = {"calibration": wish.calibration, "cost_matrix": wish.cost_matrix}
    run, facts, _ = answering_run(workdir, features, files)
    asked = _asked(run, source, wish)
    answers = answers_of(run, asked.records, wish.question)
    precedents = None
    if wish.precedents:
        precedents = open_precedents(workdir, run, facts["parameters"])
    evidence = Evidence(asked, precedents, wish.precedents)
    bar = progress(answers.to_pylist(), "evidence", unit="products")
    found = [evidence(place, answer) for place, answer in enumerate(bar)]
    tested = sanity(asked).told() if wish.sanity else ""
    output.mkdir(parents=True, exist_ok=True)
    _write(output / JSONL, found)
    with finished(output / ANSWERS) as partial:
        pq.write_table(answers, partial)
    told = {"image_root": wish.image_root, "features": features, **files}
    told["question"] = wish.question
    places, also = (workdir, source, output / ANSWERS), [output / JSONL]
    audit = audit_record(run, facts, places, also=also, **told)
    write_audit(audit, output / AUDIT)
    shown = found[:SHOWN]
    write_page(output / PAGE, shown, shown_pictures(asked, shown), audit, tested)
    return found


def check_folder(
    output: Path, inputs: Mapping[str, Path], *, flag: str = "--output"
) -> None:
    """Is there no folder yet, an empty one, or one of earlier evidence?

    Args:
      inputs: see `check_apart`; flag: that names the folder.

    Raises:
      CatalogueError: it is something else, or its files would go over an input.
    """
    there = output.exists() or output.is_symlink()
    own = output.is_dir() and (not any(output.iterdir()) or (output / JSONL).exists())
    if there and not own:
        raise CatalogueError(f"{flag}={output} is something else: name a new folder")
    for name in (JSONL, PAGE, ANSWERS, AUDIT):
        check_apart(output / name, inputs, flag=flag)


def _asked(run: Run, source: Path, wish: Wish) -> Asked:
    """The products that are wished for; of the first ones, as many as there are."""
    named: list[int] = []
    if wish.rows or wish.ids or not wish.first:
        wanted = {"rows": wish.rows, "ids": wish.ids, "first": 0}
        named = chosen_rows(run.config, source, **wanted)
    first = {*range(1, wish.first + 1)}.difference(named)
    columns, own = wish.question.columns, own_codes(run.config, run.tree)
    how = {"image_root": wish.image_root, "lacking": first, "carried": columns}
    records = read_chosen(run.config, source, {*named, *first}, **how)
    prefixes, _ = prefixes_of(records, wish.question.prefix, run.tree, own)
    return Asked(run, records, prefixes=prefixes)


def _write(path: Path, found: Sequence[Mapping]) -> None:
    lines = (json.dumps(x, ensure_ascii=False, allow_nan=False) for x in found)
    text = "".join(f"{line}\n" for line in lines)
    write_atomically(path, text.encode("utf-8", "replace").decode())
