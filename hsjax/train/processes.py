"""Several processes as one run: who joins, what they agree on, how they end.

Every process runs the same program on devices of its own. None goes on alone: one that
is lost ends the others, and the same command starts all of them again from the newest
checkpoint.
"""

import contextlib
import hashlib
import logging
import os
import re
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from hsjax.sharding import AXES, replicated
from hsjax.train.workdir import ConfigError

log = logging.getLogger("hsjax")

LOST = 75  # exit code: the same command goes on (EX_TEMPFAIL)
LAG = 2  # steps between asking and hearing whether somebody was told to stop
EARLY = 2.0  # seconds before jax would end the process without a sentence
TASKS = ("train", "extract")
# what an error between processes speaks of
BETWEEN = re.compile("gloo|nccl|coordination|heartbeat|connection", re.IGNORECASE)


@contextlib.contextmanager
def joined_processes(config) -> Iterator[None]:
    """Inside, the processes of `config.train` or of the environment are one.

    The settings are set back to those of one process, so that what a run keeps does not
    hang on where it runs.

    Raises:
      ConfigError: settings that do not fit together, or a task that is done by one.
    """
    told = _settings(config.train)
    if told is None:
        yield
        return
    if config.task not in TASKS:
        raise ConfigError(
            f"task={config.task} is done by one process; several do {', '.join(TASKS)}"
        )
    _join(told, config.train)
    config.train.update(coordinator="", processes=0, process=-1)
    with _speaking_once(), _ended_together():
        yield


def _settings(train) -> dict | None:
    """Arguments of `jax.distributed.initialize`, None = one process alone.

    What is None is left to jax, which knows Slurm, Open MPI, Kubernetes and TPU pods.
    """
    number = train.process if train.process >= 0 else _whole("JAX_PROCESS_ID", -1)
    count = train.processes or _whole("JAX_NUM_PROCESSES", 0)
    address = train.coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    step = max(_whole("SLURM_STEP_NUM_TASKS", 1), _whole("OMPI_COMM_WORLD_SIZE", 1))
    if count == 1 or not (address or count or step > 1):
        return None
    if count > 1 and number >= count:
        raise ConfigError(
            f"train.process is {number}, of {count} processes: it counts from 0"
        )
    return {
        "coordinator_address": address or None,
        "num_processes": count if count > 0 else None,
        "process_id": number if number >= 0 else None,
    }


def _whole(name: str, default: int) -> int:
    """A number of the environment."""
    text = os.environ.get(name) or str(default)
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{name} is {text!r}, no whole number") from None


def _join(told: Mapping, train) -> None:
    """Waits until all processes have come."""
    # our own agreement takes the place of jax's, which would keep SIGTERM for itself
    jax.config.update("jax_enable_preemption_service", False)
    number, count, place = (
        told[name] for name in ("process_id", "num_processes", "coordinator_address")
    )
    # what is left to jax has no name before it has found it
    who = "this process" if number is None else f"process {number}"
    who += f" of {count}" if count else ""
    late = threading.Timer(
        max(1.0, train.join_timeout - EARLY),
        _leave,
        [
            f"{who}: not all have come to {place or 'the coordinator'} within"
            f" {train.join_timeout} s; are they started, and is the address right?"
        ],
    )
    late.daemon = True
    late.start()
    try:
        jax.distributed.initialize(
            **told,
            initialization_timeout=train.join_timeout,
            heartbeat_timeout_seconds=train.lost_after,
            shutdown_timeout_seconds=train.lost_after,
        )
    except ValueError as error:
        raise ConfigError(
            f"several processes: {error} Set train.coordinator, train.processes and"
            " train.process, or JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and"
            " JAX_PROCESS_ID; Slurm and TPU pods say it themselves"
        ) from None
    finally:
        late.cancel()


@contextlib.contextmanager
def _speaking_once() -> Iterator[None]:
    """Process 0 tells what is done; the others only what is wrong, by their number."""
    first, before = jax.process_index() == 0, log.level
    if first:
        told = jax.process_count(), jax.device_count(), jax.local_device_count()
        log.info("%d processes, %d devices, %d of them here", *told)
    else:
        log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(before)


@contextlib.contextmanager
def _ended_together() -> Iterator[None]:
    """A process that has lost another one ends at once, and says why."""
    try:
        yield
    except Exception as error:  # libraries raise others from it
        if told := _lost(error):
            _leave(f"another process is lost ({told[:200]}); the same command goes on")
        raise


def _lost(error: BaseException | None) -> str:
    """What an error, or one that it came of, says of the other processes; '' = none."""
    while error is not None:
        told = " ".join(str(error).split())
        if isinstance(error, jax.errors.JaxRuntimeError) and BETWEEN.search(told):
            return told
        error = error.__cause__ or error.__context__
    return ""


def _leave(told: str) -> None:
    """Without waiting at exit for those that will not come."""
    print(f"hsjax: {told}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(LOST)


def check_alike(facts: Mapping[str, str]) -> None:
    """Have all processes the same rows, tree and tokens?

    Args:
      facts: what it is -> a text, equal everywhere.

    Raises:
      ConfigError: names what is not the same in which process.
    """
    if jax.process_count() == 1:
        return
    mine = np.array([_number(text) for text in facts.values()], np.uint32)
    every = np.asarray(multihost_utils.process_allgather(mine))  # (processes, facts)
    for name, column in zip(facts, every.T, strict=True):
        others = np.flatnonzero(column != column[0]).tolist()
        if others:
            raise ConfigError(
                f"process {', '.join(map(str, others))} has another {name} than process"
                " 0: give all the same files, config and versions"
            )


def check_shared(path) -> None:
    """Do all processes see this file, which process 0 has written?

    Raises:
      ConfigError: their folders are not the same one.
    """
    multihost_utils.sync_global_devices(f"{path} is written")
    sees = np.asarray(path.is_file(), np.int32)
    every = np.asarray(multihost_utils.process_allgather(sees)).reshape(-1)
    if not every.all():
        blind = ", ".join(map(str, np.flatnonzero(every == 0).tolist()))
        raise ConfigError(
            f"process {blind} does not see {path}, which process 0 has written: give a"
            " --workdir that all processes share"
        )


def _number(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


class StopTogether:
    """Which signal told any process to stop, heard by all after the same step.

    One process hears at once. Several exchange a number at each step, and read it some
    steps later, so that nobody waits for the devices.
    """

    def __init__(self, mesh: Mesh):
        self.alone = jax.process_count() == 1
        if not self.alone:
            self.split = NamedSharding(mesh, P(AXES))
            self.highest = jax.jit(jnp.max, out_shardings=replicated(mesh))
            self.asked = deque(self._ask(None) for _ in range(LAG))

    def _ask(self, came: signal.Signals | None) -> jax.Array:
        mine = np.full(jax.local_device_count(), came or 0, np.int32)
        return self.highest(jax.make_array_from_process_local_data(self.split, mine))

    def __call__(self, came: signal.Signals | None) -> signal.Signals | None:
        """To be called once after every step.

        Args:
          came: the signal that this process got, None so far.
        """
        if self.alone:
            return came
        self.asked.append(self._ask(came))
        number = int(self.asked.popleft())
        return signal.Signals(number) if number else None

    def meanwhile(self, came: signal.Signals | None) -> signal.Signals | None:
        """What came between two steps; several processes hear of it after the next."""
        return came if self.alone else None
