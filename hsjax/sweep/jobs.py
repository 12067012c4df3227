"""What a sweep has to do: to train its runs, and to score those that are trained."""

import json
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from hsjax.atomic import write_atomically
from hsjax.sweep.lists import NAME, Run, is_done_below
from hsjax.train.source import is_finished, is_run
from hsjax.train.workdir import ConfigError, digest

CACHE = "JAX_COMPILATION_CACHE_DIR"
ASKED = "evaluate.json"  # what an evaluation was asked for, beside its report
REPORTS = ("report.json", "report.md", "label_audit.md")  # what evaluations leave
OURS = re.compile(r"--?(run|output|compare|against)(=|$)")

Evaluations = Mapping[str, tuple[str, ...]]  # folder below a run -> arguments


class Job(NamedTuple):
    """One command of a sweep.

    Attributes:
      name: is shown.
      folder: of its `run.log`.
      words: what python is told.
      environment: what is set for it.
      is_done: has it left its report?
      is_ready: can it be begun?
      begin: is called before it is started, printed or submitted.
      source: workdir of the run that it starts from, which has to be finished.
      through: words of a command that a training is given to, see `command`.
    """

    name: str
    folder: Path
    words: tuple[str, ...]
    environment: Mapping[str, str]
    is_done: Callable[[], bool]
    is_ready: Callable[[], bool] = lambda: True
    begin: Callable[[], None] = lambda: None
    source: Path | None = None
    through: tuple[str, ...] = ()

    @property
    def command(self) -> tuple[str, ...]:
        """All words: `python -m ...`, or `through` with the arguments of a training.

        There `{name}` is the job's name in small letters, digits and `-`.
        """
        if not self.through:
            return "python", *self.words
        name = re.sub("[^a-z0-9]+", "-", self.name.lower()).strip("-")
        given = (word.replace("{name}", name) for word in self.through)
        return *given, *self.words[2:]


def training_jobs(runs: Sequence[Run], root: Path) -> list[Job]:
    """A job for each run; what others start from (`init_from`) stands before them.

    Raises:
      ConfigError: a run that starts from itself.
    """
    of = {(root / run.name).resolve(): run for run in runs}
    return [_training(run, root, of) for run in sorted(runs, key=partial(_rank, of=of))]


def _training(run: Run, root: Path, of: Mapping[Path, Run]) -> Job:
    workdir, source = root / run.name, _source(run)
    return Job(
        run.name,
        workdir,
        ("-m", "hsjax.main", *run.arguments, f"--workdir={workdir}"),
        _environment(run, root),
        partial(is_done_below, root, run),
        partial(_can_start, source, of.get(source and source.resolve()), root),
        source=source,
    )


def _source(run: Run) -> Path | None:
    return Path(run.config.init_from) if run.config.init_from else None


def _rank(run: Run, of: Mapping[Path, Run], after: tuple[str, ...] = ()) -> int:
    """How many runs of the list have to be finished before this one, in a row."""
    if run.name in after:
        raise ConfigError(f"{run.name}: init_from leads back to itself")
    source = _source(run)
    if source is None or source.resolve() not in of:
        return 0
    return 1 + _rank(of[source.resolve()], of, (*after, run.name))


def _can_start(source: Path | None, run: Run | None, root: Path) -> bool:
    """Is there nothing to start from, or is it finished?

    Args:
      run: of the list, which the source is.
    """
    if source is None:
        return True
    return is_done_below(root, run) if run else is_finished(source)


def check_sources(jobs: Sequence[Job]) -> None:
    """Is what runs start from finished, or one of the jobs? Asked before the first.

    Raises:
      ConfigError: names the first run that could not start.
    """
    coming = {job.folder.resolve() for job in jobs}
    for job in jobs:
        if job.source is None or job.source.resolve() in coming:
            continue
        if not job.is_done() and not job.is_ready():
            run = is_run(job.source)
            told = "has no report yet" if run else "is no workdir of a run"
            raise ConfigError(
                f"{job.name}: init_from={job.source} {told}; train it first, or name"
                " another folder"
            )


def evaluation_jobs(
    runs: Sequence[Run], root: Path, evaluations: Evaluations
) -> list[Job]:
    """A job for each run and evaluation; ready where the run is trained."""
    return [
        _evaluation(run, root, name, arguments)
        for name, arguments in evaluations.items()
        for run in runs
    ]


def read_evaluations(words: Sequence[str], runs: Sequence[Run]) -> Evaluations:
    """Folder below each run -> arguments of `hsjax.evaluate`, from NAME=ARGUMENTS.

    Raises:
      ConfigError: a word that is not understood, or a folder that is a run's.
    """
    found: dict[str, tuple[str, ...]] = {}
    for word in words:
        name, equals, rest = word.partition("=")
        place = f"--evaluate={word}"
        if not equals or "/" in name or not NAME.fullmatch(name):
            raise ConfigError(
                f"{place}: write NAME='ARGUMENTS', half='--corrupt=word_drop:0.5'"
            )
        try:
            arguments = tuple(shlex.split(rest))
        except ValueError as error:
            raise ConfigError(f"{place}: {error}") from None
        if taken := [x for x in arguments if OURS.match(x)]:
            raise ConfigError(
                f"{place}: {taken[0]} is not yours to give: the list does"
            )
        if name in found:
            raise ConfigError(f"{place}: {name!r} stands for two evaluations")
        if "--input" in arguments or "-input" in arguments:
            raise ConfigError(f"{place}: write --input=FILE as one word")
        below = {f"{run.name}/{name}" for run in runs} & {run.name for run in runs}
        if below:
            raise ConfigError(f"{place}: {min(below)} is a run of the list")
        found[name] = arguments
    return found


def _evaluation(run: Run, root: Path, name: str, arguments: tuple[str, ...]) -> Job:
    workdir = root / run.name
    folder = workdir / name
    asked = {"arguments": list(arguments), "input": _input(arguments)}
    places = (f"--run={workdir}", f"--output={folder}")
    return Job(
        f"{run.name}/{name}",
        folder,
        ("-m", "hsjax.evaluate", *places, *arguments),
        _environment(run, root),
        lambda: _asked(folder) == asked and is_scored(folder, workdir),
        partial(is_done_below, root, run),
        partial(_begin, folder, asked),
    )


def _input(arguments: Sequence[str]) -> str | None:
    """sha256 of the file that is scored."""
    for word in arguments:
        path = Path(re.sub(r"^--?input=", "", word))
        if path != Path(word) and path.is_file():
            return digest(path, path.stat().st_size, path.stat().st_mtime_ns)
    return None


def _asked(folder: Path) -> dict:
    try:
        return json.loads((folder / ASKED).read_text())
    except (OSError, ValueError):
        return {}


def is_scored(folder: Path, workdir: Path) -> bool:
    """Has an evaluation left a report, after it was asked for and its run was scored?

    Rows without labels leave `report.md` alone, an audit of labels `label_audit.md`.
    """
    return any(is_current(folder / name, workdir) for name in REPORTS)


def is_current(report: Path, workdir: Path) -> bool:
    """Is there this report of an evaluation, of what was asked and of its run today?"""
    before = _times((workdir / "report.json", report.parent / ASKED))
    return report.exists() and report.stat().st_mtime_ns >= max(before, default=0)


def _times(paths: Iterable[Path]) -> list[int]:
    """When those of the files that there are were changed, in ns."""
    return [path.stat().st_mtime_ns for path in paths if path.exists()]


def _begin(folder: Path, asked: Mapping) -> None:
    """Notes what is asked: reports of something else, which are older, count no more.

    Raises:
      ConfigError: the folder holds something else.
    """
    mine = any((folder / name).exists() for name in (ASKED, *REPORTS[1:]))
    filled = folder.is_dir() and any(p.name != "run.log" for p in folder.iterdir())
    if (folder / "config.json").exists() or (filled and not mine):
        raise ConfigError(
            f"--evaluate: {folder} holds something else; take another name than"
            f" {folder.name!r}"
        )
    if _asked(folder) != asked:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / ASKED, json.dumps(asked) + "\n")


def _environment(run: Run, root: Path) -> dict[str, str]:
    """All runs share one folder of compiled programs, unless somebody chose another."""
    chosen = os.environ.get(CACHE) or run.config.train.compile_cache
    return {} if chosen else {CACHE: str((root / "compiled").resolve())}
