"""Ways to do the jobs of a sweep: here one by one, printed, or on a cluster."""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from hsjax.sweep.jobs import Job
from hsjax.train.watch import read_metrics
from hsjax.train.workdir import ConfigError

GRACE = 120  # seconds that a run has to save its state
FLAGS_ERROR = "FATAL Flags parsing error: "  # of absl, which goes on for some lines


def run_local(jobs: Sequence[Job], options: str = "") -> list[str]:
    """One job after another; a failed one does not stop the others.

    What is done is asked when its turn comes: a run that is trained anew has its
    evaluations made anew. That of a run that is not trained by then is left out; a run
    that starts from it has failed, too.

    Returns a sentence for each that failed.
    """
    del options
    failed = []
    with tqdm(total=len(jobs), unit="run", disable=None) as bar:
        for number, job in enumerate(jobs, 1):
            bar.set_description(job.name)
            if bar.disable and not job.is_done() and job.is_ready():  # no terminal
                now = time.strftime("%H:%M:%S")
                print(f"{now} {number} of {len(jobs)}: {job.name}", file=sys.stderr)
            flaw = _flaw(partial(_run_one, job, bar))
            if flaw:
                failed.append(f"{job.name}: {flaw}")
                bar.write(f"failed: {failed[-1]}", file=sys.stderr)
            bar.update()
    done = sum(job.is_done() for job in jobs)
    print(f"{done} of {len(jobs)} are done", file=sys.stderr)
    return failed


def print_commands(jobs: Sequence[Job], options: str = "") -> list[str]:
    """One shell command per job that is not done, trainings before evaluations.

    Where they are run several at a time, a comment says which one has to be finished
    before.

    Returns a sentence for each that cannot be begun.
    """
    del options
    failed = []
    for job in _undone(jobs):
        if flaw := _flaw(job.begin):
            failed.append(f"{job.name}: {flaw}")
        else:
            waits = job.source is not None and not job.is_ready()
            print(_shell_line(job) + (f"  # after {job.source}" if waits else ""))
    return failed


def submit_slurm(jobs: Sequence[Job], options: str = "") -> list[str]:
    """`sbatch` for each job that is not done, with further `options`.

    What is queued already is not known here, and would be submitted again. A run that
    starts from one that is submitted here depends on it. Evaluations of runs that are
    not trained yet wait for the next call.

    Raises:
      ConfigError: there is no sbatch, or `options` are no words of a shell.
    """
    try:
        words = shlex.split(options)
    except ValueError as error:
        raise ConfigError(f"--slurm={options}: {error}") from None
    if not shutil.which("sbatch"):
        raise ConfigError(
            "--launcher=slurm: there is no sbatch on this machine; --launcher=print"
            " writes the commands"
        )
    failed, numbers = [], {}  # folder of a job -> number that Slurm gives it
    for job in _undone(jobs):
        after = numbers.get(job.source.resolve(), "") if job.source else ""
        if not after and not job.is_ready():
            told = (
                f"{job.source} is not trained yet" if job.source else "not trained yet"
            )
            print(f"{job.name}: {told}; the same command later submits it")
            continue
        if flaw := _flaw(job.begin):
            failed.append(f"{job.name}: {flaw}")
            continue
        told = _submitted(job, words, after)
        print(f"{job.name}: {(told.stdout or told.stderr).strip()}")
        if told.returncode:
            failed.append(f"{job.name}: {told.stderr.strip()}")
        number = told.stdout.strip().partition(";")[0]  # NUMBER or NUMBER;CLUSTER
        if number.isdigit() and not told.returncode:
            numbers[job.folder.resolve()] = number
    return failed


def _submitted(
    job: Job, words: Sequence[str], after: str
) -> subprocess.CompletedProcess:
    """What sbatch says.

    Args:
      words: further options; a dependency among them holds for the job `after`, too.
      after: number of the job that has to end well before this one, '' = none.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    own = [f"--job-name={job.name}", f"--output={job.folder}/slurm-%j.log"]
    last = [f"--dependency=afterok:{after}", "--kill-on-invalid-dep=yes"]
    command = ["sbatch", "--parsable", *own, *words, *(last if after else [])]
    # a script of its own reads the rest as its arguments
    command += job.command if job.through else [f"--wrap={_shell_line(job)}"]
    environment = {**os.environ, **job.environment}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


LAUNCHERS = {
    "local": run_local,
    "print": print_commands,
    "slurm": submit_slurm,
    # one run after another as well, each of them on machines that are elsewhere
    "tpu": run_local,
    "gke": run_local,
}
SCRIPTS = {"tpu": "tpu_pod.sh NAME ZONE FOLDER --", "gke": "gke.sh {name} IMAGE --"}


def check_through(launcher: str, through: Sequence[str]) -> None:
    """ConfigError: a launcher whose script is not named."""
    usage = SCRIPTS.get(launcher, "")
    if usage and (not through or Path(through[0]).name != usage.split()[0]):
        raise ConfigError(f"--launcher={launcher}: add --through='launch/{usage}'")


def _undone(jobs: Sequence[Job]) -> list[Job]:
    return [job for job in jobs if not job.is_done()]


def _flaw(step: Callable[[], str | None]) -> str:
    """What a step says is wrong, '' = nothing."""
    try:
        return step() or ""
    except ConfigError as error:
        return str(error)


def _shell_line(job: Job) -> str:
    settings = [f"{key}={value}" for key, value in job.environment.items()]
    words = ["env", *settings] if settings else []
    return shlex.join([*words, *job.command])


def _run_one(job: Job, bar) -> str:
    """Waits for one job that is not done; what went wrong, '' = nothing."""
    if job.is_done():
        return ""
    if not job.is_ready():
        return f"init_from={job.source} is not finished" if job.source else ""
    job.begin()
    job.folder.mkdir(parents=True, exist_ok=True)
    path = job.folder / "run.log"
    with path.open("a") as log:
        process = subprocess.Popen(
            job.command if job.through else [sys.executable, *job.words],
            env={**os.environ, **job.environment},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches it as SIGTERM, so that it saves
        )
        try:
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=2)
                bar.set_postfix_str(_progress(job.folder))
        finally:
            _stop(process)
    if process.returncode:
        return f"{_last_words(path)} (exit {process.returncode}; see {path})"
    if not job.is_done():
        return f"it left no report of what was asked in {job.folder}; see {path}"
    return ""


def _last_words(path: Path) -> str:
    """The line of a log that says best why its process ended."""
    lines = path.read_text(errors="replace").strip().splitlines()
    if not lines:
        return "it said nothing"
    told = [line for line in lines[-4:] if line.startswith(FLAGS_ERROR)]
    return [*told, lines[-1]][0].removeprefix(FLAGS_ERROR).removeprefix("hsjax: ")


def _progress(folder: Path) -> str:
    """The last step that a training has told."""
    with contextlib.suppress(OSError, ValueError):  # it may be writing at this moment
        lines = read_metrics(folder / "metrics.jsonl")
        return f"step {lines[-1].get('step', 0):,}" if lines else ""
    return ""


def _stop(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
