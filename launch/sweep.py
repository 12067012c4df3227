"""Runs a list of experiments, and makes one table of them.

python launch/sweep.py --runs=FILE.jsonl --root=DIR
python launch/sweep.py --runs=FILE.jsonl --root=DIR --launcher=print
python launch/sweep.py --runs=FILE.jsonl --root=DIR --table=NAME
python launch/sweep.py --runs=FILE.jsonl --root=DIR --set=data.path=goods.csv

The same command again goes on where it was cut off: a run is done when its folder has a
report of the very config. `launch/README.md` tells the files.
"""

import signal
import sys
from pathlib import Path

from absl import app, flags

RUNS = flags.DEFINE_string("runs", None, "FILE.jsonl, a run or a row of seeds a line.")
ROOT = flags.DEFINE_string("root", None, "Folder of the workdirs.")
LAUNCHER = flags.DEFINE_string(
    "launcher", "", "local | print | slurm; default: local, nothing with --table."
)
TABLE = flags.DEFINE_string("table", "", "Aggregate to DIR/NAME.md, .csv and .png.")
SET = flags.DEFINE_multi_string("set", [], "KEY=VALUE for all runs.")
SLURM = flags.DEFINE_string("slurm", "", "Options of sbatch, '--gres=gpu:1 --time=60'.")


def launch(runs, root: Path) -> list[str]:
    """Starts what is not done; a sentence for each run that failed."""
    from hsjax.launchers import LAUNCHERS
    from hsjax.train.workdir import ConfigError

    name = LAUNCHER.value or ("" if TABLE.value else "local")
    if not name:
        return []
    if name not in LAUNCHERS:
        later = " is not built yet" if name in ("tpu", "gke") else " is unknown"
        raise ConfigError(f"--launcher={name}{later}; known: {', '.join(LAUNCHERS)}")
    return LAUNCHERS[name](runs, root, SLURM.value)


def run(argv) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"not understood: {' '.join(argv[1:])}")
    from hsjax.sweep_tables import make_table
    from hsjax.sweeps import read_runs
    from hsjax.tasks import user_errors

    # as for Ctrl-C: the run that is under way saves its state first
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    path, root = Path(RUNS.value), Path(ROOT.value)
    with user_errors():
        runs = read_runs(path, SET.value)
        try:
            failed = launch(runs, root)
        except KeyboardInterrupt:
            sys.exit("hsjax: stopped; the same command goes on")
        if TABLE.value:
            print(make_table(path, runs, root, TABLE.value))
    if failed:
        sys.exit(f"hsjax: {len(failed)} of {len(runs)} runs failed: {failed[0]}")


def main() -> None:
    flags.mark_flags_as_required(["runs", "root"])
    app.run(run)


if __name__ == "__main__":
    main()
