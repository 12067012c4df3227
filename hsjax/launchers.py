"""Ways to run the experiments of a sweep: here one by one, printed, or on a cluster."""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from hsjax.sweeps import Run, is_done_below
from hsjax.train.watch import read_metrics
from hsjax.train.workdir import ConfigError

GRACE = 120  # seconds that a run has to save its state
CACHE = "JAX_COMPILATION_CACHE_DIR"


def run_local(runs: Sequence[Run], root: Path, options: str = "") -> list[str]:
    """One run after another; a failed one does not stop the others.

    Returns a sentence for each that failed.
    """
    del options
    todo = _undone(runs, root)
    failed, done = [], len(runs) - len(todo)
    with tqdm(total=len(runs), initial=done, unit="run", disable=None) as bar:
        for run in todo:
            bar.set_description(run.name)
            flaw = _run_one(run, root, bar)
            if flaw:
                failed.append(f"{run.name}: {flaw}")
                bar.write(f"failed: {failed[-1]}", file=sys.stderr)
            bar.update()
    return failed


def print_commands(runs: Sequence[Run], root: Path, options: str = "") -> list[str]:
    """One shell command per run that is not done."""
    del options
    for run in _undone(runs, root):
        print(_shell_line(run, root))
    return []


def submit_slurm(runs: Sequence[Run], root: Path, options: str = "") -> list[str]:
    """`sbatch --wrap` for each run that is not done, with further `options`.

    What is queued already is not known here, and would be submitted again.

    Raises:
      ConfigError: there is no sbatch.
    """
    if not shutil.which("sbatch"):
        raise ConfigError(
            "--launcher=slurm: there is no sbatch on this machine; --launcher=print"
            " writes the commands"
        )
    failed = []
    for run in _undone(runs, root):
        workdir = root / run.name
        workdir.mkdir(parents=True, exist_ok=True)
        words = [f"--job-name={run.name}", f"--output={workdir}/slurm-%j.log"]
        words += [*shlex.split(options), f"--wrap={_shell_line(run, root)}"]
        job = subprocess.run(["sbatch", *words], capture_output=True, text=True)
        print(f"{run.name}: {(job.stdout or job.stderr).strip()}")
        if job.returncode:
            failed.append(f"{run.name}: {job.stderr.strip()}")
    return failed


LAUNCHERS = {"local": run_local, "print": print_commands, "slurm": submit_slurm}


def _undone(runs: Sequence[Run], root: Path) -> list[Run]:
    return [run for run in runs if not is_done_below(root, run)]


def _command(run: Run, root: Path) -> list[str]:
    """What python is told."""
    return ["-m", "hsjax.main", *run.arguments, f"--workdir={root / run.name}"]


def _environment(run: Run, root: Path) -> dict[str, str]:
    """All runs share one folder of compiled programs, unless somebody chose another."""
    chosen = os.environ.get(CACHE) or run.config.train.compile_cache
    return {} if chosen else {CACHE: str((root / "compiled").resolve())}


def _shell_line(run: Run, root: Path) -> str:
    settings = [f"{key}={value}" for key, value in _environment(run, root).items()]
    words = ["env", *settings] if settings else []
    return shlex.join([*words, "python", *_command(run, root)])


def _run_one(run: Run, root: Path, bar) -> str:
    """Waits for one run; what went wrong, '' = nothing."""
    workdir = root / run.name
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / "run.log"
    with path.open("a") as log:
        process = subprocess.Popen(
            [sys.executable, *_command(run, root)],
            env={**os.environ, **_environment(run, root)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches it as SIGTERM, so that it saves
        )
        try:
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=2)
                bar.set_postfix_str(_progress(workdir))
        finally:
            _stop(process)
    if process.returncode:
        lines = path.read_text(errors="replace").strip().splitlines()
        told = lines[-1].removeprefix("hsjax: ") if lines else "it said nothing"
        return f"{told} (exit {process.returncode}; see {path})"
    if not is_done_below(root, run):
        return f"it left no report of this config in {workdir}"
    return ""


def _progress(workdir: Path) -> str:
    """The last step that the run has told."""
    with contextlib.suppress(OSError, ValueError):  # it may be writing at this moment
        lines = read_metrics(workdir / "metrics.jsonl")
        return f"step {lines[-1]['step']:,}" if lines else ""
    return ""


def _stop(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
