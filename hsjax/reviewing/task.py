"""A review of a file of answers: a queue, decisions, and labels for the next run."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hsjax.atomic import file_hash
from hsjax.data.nomenclature import node_paths
from hsjax.data.quarantine import CatalogueError
from hsjax.data.sources import column_names
from hsjax.prediction.audit_record import audit_path, read_audit, source_hash
from hsjax.prediction.known import CONTENT
from hsjax.prediction.output import check_output
from hsjax.prediction.source import check_apart
from hsjax.prediction.written import answer_rows
from hsjax.reviewing.decisions import REJECT, Answer, read_decisions
from hsjax.reviewing.labelled import labelled_rows, write_labelled
from hsjax.reviewing.queue import ranked, said_of, write_queue
from hsjax.reviewing.record import Decided, decided, merge, record_path
from hsjax.taxonomy import Taxonomy
from hsjax.train.config import read_config


class Reviewed(NamedTuple):
    """The answers that are reviewed, and where they come from.

    Attributes:
      answers: by row; path: their file.
      workdir: of the run that gave them; source: their catalogue, None = not known.
      taxonomy: hash of the tree whose codes they are.
    """

    path: Path
    answers: dict[int, Answer]
    workdir: Path
    source: Path | None
    taxonomy: str

    @property
    def inputs(self) -> dict[str, Path | None]:
        """By the flags that name them: nothing is to be written over these."""
        return {"--answers": self.path, "--input": self.source}

    @property
    def record(self) -> Path:
        """Of what is decided about them."""
        return record_path(self.path)

    def decided(self) -> Decided:
        """What the record says of them."""
        return decided(self.record, self.answers, self.taxonomy)

    def tree(self) -> Taxonomy:
        """Raises CatalogueError: the run has another one by now."""
        found = _tree_of(self.workdir)
        if found.hash != self.taxonomy:
            raise CatalogueError(
                f"{self.workdir} has another tree than {self.path} has codes of: name"
                " the run that gave these answers with --run=WORKDIR"
            )
        return found


def open_review(
    path: Path, *, workdir: Path | str | None = None, source: Path | str | None = None
) -> Reviewed:
    """Answers with what their audit record says of them.

    Args:
      workdir, source: in place of what it says; needed where there is no record.

    Raises:
      CatalogueError: no answers, others than the record is about, or another catalogue;
        or there is no record, and no workdir was given.
    """
    answers = {
        x["row"]: Answer(x["row"], x["id"], x["pred"], x.get(CONTENT) or "")
        for x in answer_rows(path)
    }
    audit = audit_path(path)
    if not audit.is_file():
        if workdir is None:
            raise CatalogueError(
                f"{audit}: there is no audit record, which says what run gave these"
                " answers: name it with --run=WORKDIR"
            )
        tree = _tree_of(Path(workdir)).hash
        return Reviewed(path, answers, Path(workdir), source and Path(source), tree)
    record = read_audit(audit)
    if record["output"]["sha256"] != file_hash(path):
        raise CatalogueError(
            f"{path} is not what {audit.name} is about: it was changed since; write it"
            " again with the command that stands there"
        )
    workdir = Path(workdir or record["model"]["workdir"])
    source = Path(source or record["input"]["path"])
    if source.exists() and source_hash(source) != record["input"]["sha256"]:
        raise CatalogueError(f"{source} has changed since it was answered: run predict")
    return Reviewed(path, answers, workdir, source, record["taxonomy"]["sha256"])


def queue(reviewed: Reviewed, output: Path, *, limit: int = 0) -> str:
    """Writes the queue of answers that nobody has decided about; what became of it.

    Args:
      limit: so many at most, 0 = all.

    Raises:
      CatalogueError: an output that cannot be.
    """
    if output.suffix != ".csv":
        raise CatalogueError(f"--output={output}: a queue is a .csv")
    check_output(output)
    check_apart(output, reviewed.inputs)
    done = reviewed.decided()
    waiting = ranked(answer_rows(reviewed.path), done.entries)
    shown = waiting[:limit] if limit else waiting
    write_queue(shown, output, _products(reviewed, {x.row for x in shown}))
    told = [f"{output}: {len(shown):,} answers to look at, the dearest first"]
    told += [f"{len(done.entries):,} are decided"] if done.entries else []
    return "; ".join(filter(None, [*told, done.told()]))


def _products(reviewed: Reviewed, rows: set[int]) -> dict:
    """What the catalogue says of rows: texts, and where its pictures are."""
    source, columns = reviewed.source, read_config(reviewed.workdir).data.columns
    if source is None or not source.exists():
        return {}
    wanted = dict.fromkeys((*columns.text, *columns.metadata, columns.image))
    there = column_names(source)
    return said_of(source, [x for x in wanted if x in there], rows)


def take_in(reviewed: Reviewed, file: Path) -> str:
    """Merges a file of decisions into the record; what became of it.

    Raises:
      CatalogueError: see `read_decisions` and `read_record`.
    """
    tree, own = reviewed.tree(), {}
    if read_config(reviewed.workdir).data.columns.label_kind == "node":
        own = node_paths(tree)
    decisions = read_decisions(file, reviewed.answers, tree, own)
    added, replaced = merge(decisions, reviewed.path, tree, file=file)
    told = f"{reviewed.record}: {added:,} decisions added"
    if replaced:
        told += f", of which {replaced:,} take the place of earlier ones"
    if again := len(decisions) - added:
        told += f"; {again:,} were there already"
    return told


def export(reviewed: Reviewed, output: Path) -> str:
    """Writes accepted and overridden answers as labelled rows; what became of it.

    Raises:
      CatalogueError: the catalogue is not known or gone, nothing was decided, a code
        that its label columns cannot say, an output that would go over the catalogue or
        the answers.
    """
    if reviewed.source is None or not reviewed.source.exists():
        told = reviewed.source or "of these answers"
        raise CatalogueError(f"the catalogue {told} is gone: name it with --input=FILE")
    check_apart(output, reviewed.inputs, flag="--labelled")
    done, tree = reviewed.decided(), reviewed.tree()
    codes = {r: x["code"] for r, x in done.entries.items() if x["decision"] != REJECT}
    if not codes:
        more = done.told() and f"; {done.told()}"
        told = f"{reviewed.record}: nothing was accepted or overridden yet{more}"
        raise CatalogueError(told)
    config = read_config(reviewed.workdir)
    names, rows = labelled_rows(config, tree, reviewed.source, codes)
    write_labelled(output, names, rows, source=reviewed.source)
    told = [f"{output}: {len(rows):,} labelled rows", done.told()]
    told.append(_other_columns(Path(config.data.path), names))
    return "; ".join(filter(None, told))


def _other_columns(training: Path, names: Sequence[str]) -> str:
    """A sentence where rows cannot be put behind those of a file as they are."""
    try:
        same = not training.is_file() or column_names(training) == [*names]
    except CatalogueError:  # nobody has asked for that file
        same = True
    told = f"the columns differ from those of {training}: make them the same before"
    return "" if same else f"{told} these rows are put behind its own"


def _tree_of(workdir: Path) -> Taxonomy:
    """Raises WorkdirError: no workdir of a run."""
    read_config(workdir)
    return Taxonomy.load(workdir / "taxonomy.json")
