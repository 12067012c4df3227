"""Runs a list of experiments, scores them on other data, and makes tables of them.

python launch/sweep.py --runs=FILE.jsonl --root=DIR
python launch/sweep.py --runs=FILE.jsonl --root=DIR --launcher=print
python launch/sweep.py --runs=FILE.jsonl --root=DIR --evaluate=half='--corrupt=typos@3'
python launch/sweep.py --runs=FILE.jsonl --root=DIR --table=NAME,NAME
python launch/sweep.py --runs=FILE.jsonl --root=DIR --set=data.path=goods.csv
python launch/sweep.py --runs=FILE.jsonl --root=DIR --through='launch/local.sh -n 2 --'

The same command again goes on where it was cut off: a run is done when its folder has a
report of the very config. `launch/README.md` tells the files.
"""

import logging
import os
import shlex
import sys
from pathlib import Path

from absl import app, flags

RUNS = flags.DEFINE_string("runs", None, "FILE.jsonl, a run or a row of seeds a line.")
ROOT = flags.DEFINE_string("root", None, "Folder of the workdirs.")
LAUNCHER = flags.DEFINE_string(
    "launcher",
    "",
    "local | print | slurm | tpu | gke; default: local, no training with --table.",
)
EVALUATE = flags.DEFINE_multi_string(
    "evaluate", [], "NAME='ARGUMENTS' of hsjax.evaluate, into RUN/NAME of trained runs."
)
TABLE = flags.DEFINE_list("table", [], "Aggregate to DIR/NAME.md, .csv and .png.")
SET = flags.DEFINE_multi_string("set", [], "KEY=VALUE or {word}=VALUE for all.")
ONLY = flags.DEFINE_list("only", [], "Rows of the list to train and score.")
THROUGH = flags.DEFINE_string(
    "through", "", "What trainings are given to: 'launch/local.sh -n 2 --', ..."
)
SLURM = flags.DEFINE_string("slurm", "", "Options of sbatch, '--gres=gpu:1 --time=60'.")


def words_of(flag) -> tuple[str, ...]:
    """What a shell would make of a flag; ConfigError: nothing."""
    from hsjax.train.workdir import ConfigError

    try:
        return tuple(shlex.split(flag.value))
    except ValueError as error:
        raise ConfigError(f"--{flag.name}={flag.value}: {error}") from None


def launch(runs, root: Path) -> tuple[list[str], str]:
    """Starts what is not done; a sentence for each that failed, and of how many."""
    from hsjax.sweep.jobs import (
        check_sources,
        evaluation_jobs,
        read_evaluations,
        training_jobs,
    )
    from hsjax.sweep.launchers import LAUNCHERS, check_through
    from hsjax.train.workdir import ConfigError

    name = LAUNCHER.value or "local"
    if name not in LAUNCHERS:
        raise ConfigError(
            f"--launcher={name} is unknown; known: {', '.join(LAUNCHERS)}"
        )
    if SLURM.value and name != "slurm":
        told = f"--slurm says nothing with the launcher {name}"
        raise ConfigError(f"{told}: leave it out, or give --launcher=slurm")
    evaluations = read_evaluations(EVALUATE.value, runs)
    training = [] if TABLE.value and not LAUNCHER.value else training_jobs(runs, root)
    check_sources(training)
    through = words_of(THROUGH)
    check_through(name, through)
    training = [job._replace(through=through) for job in training]
    jobs = [*training, *evaluation_jobs(runs, root, evaluations)]
    what = "runs and evaluations" if evaluations else "runs"
    return LAUNCHERS[name](jobs, SLURM.value) if jobs else [], f"{len(jobs)} {what}"


def run(argv) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"not understood: {' '.join(argv[1:])}")
    from hsjax.sweep.lists import check_rows_differ, check_runs, chosen_runs, read_runs
    from hsjax.sweep.tables import check_table, make_table
    from hsjax.tasks.registry import user_errors

    # every run logs for itself; here only what is wrong
    logging.getLogger("hsjax").setLevel(logging.WARNING)
    path, root = Path(RUNS.value), Path(ROOT.value)
    # the run that is under way saves its state first
    with user_errors("; the same command goes on"):
        runs = read_runs(path, SET.value, root, only=ONLY.value)
        wanted = chosen_runs(runs, ONLY.value)
        check_runs(wanted)
        check_rows_differ(wanted)
        for name in TABLE.value:  # before hours of training
            check_table(path, runs, name)
        failed, of = launch(wanted, root)
        for name in TABLE.value:
            print(make_table(path, runs, root, name))
    if failed:
        sys.exit(f"hsjax: {len(failed)} of {of} failed: {failed[0]}")


def main() -> None:
    flags.mark_flags_as_required(["runs", "root"])
    sys.path.insert(0, os.getcwd())  # as `python -m` does, for configs of your own
    app.run(run)


if __name__ == "__main__":
    main()
