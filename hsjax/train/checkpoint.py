"""State and data position as one, saved atomically in the background (Orbax)."""

import itertools
import json
import logging
from collections.abc import Iterable
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from hsjax.atomic import write_atomically

log = logging.getLogger("hsjax")


class CheckpointError(RuntimeError):
    """A checkpoint of a workdir cannot be read."""


def checkpoint_steps(workdir: Path) -> list[int]:
    """Steps of the finished checkpoints; Orbax's temporary folders are none."""
    folders = (Path(workdir) / "checkpoints").glob("*")
    return sorted(int(folder.name) for folder in folders if folder.name.isdigit())


class Checkpoints:
    """Best and latest checkpoints of a workdir.

    The data part is three numbers: the order of examples is a pure function of the seed
    and the number of examples seen, so any number of workers, processes or devices can
    go on. The best is the newest that was saved with a monitored value.

    Args:
      read_only: nothing is made or tidied up, so that anybody's folder can be read.

    Raises:
      CheckpointError: what a checkpoint was chosen by cannot be read.
      FileNotFoundError: there is nothing to be read only.
    """

    def __init__(self, workdir: Path, *, read_only: bool = False):
        self.directory = Path(workdir).absolute() / "checkpoints"
        self.best_file = Path(workdir) / "best.json"
        if read_only and not checkpoint_steps(workdir):
            raise FileNotFoundError(f"no checkpoint in {self.directory}")
        keep = BestN(
            get_metric_fn=lambda m: m["monitor"],
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(n=2), keep]),
            best_fn=lambda m: m["monitor"],
            best_mode="max",
            create=not read_only,
        )
        try:
            self._manager = ocp.CheckpointManager(self.directory, options=options)
        except ValueError as error:
            raise CheckpointError(
                f"{self.directory}: the metrics of a checkpoint cannot be read; move it"
                f" away ({error})"
            ) from None

    def save(
        self, step: int, state, position: dict, monitor: float | None = None
    ) -> None:
        """Starts saving; `monitor` is given where it is better than all before."""
        if step in self._manager.all_steps():
            return
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(position)
            ),
            metrics=None if monitor is None else {"monitor": monitor},
        )

    def restore_latest(self, like):
        """(step, state, position) of the newest checkpoint that can be read, or None.

        A damaged checkpoint is named in the log, and renamed to `damaged-STEP` once an
        older one has taken its place.

        Args:
          like: a state of the same shapes; its shardings are those of the result.

        Raises:
          CheckpointError: there are checkpoints, but none can be read.
        """
        damaged = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                found = self._restore(step, like)
            except CheckpointError as error:
                log.warning("%s; skipped", error)
                damaged[step] = error
                continue
            self._set_aside(damaged)
            return step, *found
        if damaged:
            raise CheckpointError(
                f"none of the checkpoints {sorted(damaged)} in {self.directory} can be"
                f" read; move the folder away to start again ({damaged[max(damaged)]})"
            )
        return None

    def _set_aside(self, steps: Iterable[int]) -> None:
        """Renames damaged checkpoints, which may still be of use to somebody."""
        for step in steps if jax.process_index() == 0 else ():
            first = self.directory / f"damaged-{step}"
            others = (first.with_name(f"{first.name}-{n}") for n in itertools.count(2))
            paths = itertools.chain([first], others)
            free = next(path for path in paths if not path.exists())
            (self.directory / str(step)).rename(free)
            log.warning("checkpoint %d is kept as %s", step, free)
        multihost_utils.sync_global_devices("damaged checkpoints set aside")
        self._manager.reload()

    def restore_parameters(self, like: dict):
        """(step, {name: tree}) of the best checkpoint: some fields of the state alone.

        Args:
          like: field of the state -> tree of arrays of its shapes and shardings.

        Raises:
          FileNotFoundError: there is no checkpoint.
          CheckpointError: it cannot be read.
        """
        step = self.best_step()
        args = ocp.args.PyTreeRestore(
            item=like,
            restore_args=ocp.checkpoint_utils.construct_restore_args(like),
            partial_restore=True,
        )
        return step, self._read(step, ocp.args.Composite(state=args)).state

    def best_step(self) -> int:
        """The best step, the latest where none was evaluated."""
        step = self._manager.best_step()
        step = self._manager.latest_step() if step is None else step
        if step is None:
            raise FileNotFoundError(f"no checkpoint in {self.directory}")
        return step

    def _restore(self, step: int, like):
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like
        )
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(target), data=ocp.args.JsonRestore()
        )
        found = self._read(step, args)
        return found.state, found.data

    def _read(self, step: int, args):
        try:
            return self._manager.restore(step, args=args)
        except Exception as error:  # Orbax has no narrower one for a torn array
            if _has_another_cause(error):
                raise
            raise CheckpointError(
                f"checkpoint {step} in {self.directory} cannot be read:"
                f" {' '.join(str(error).split())[:300]}"
            ) from error

    def write_best(self, name: str) -> None:
        """Names the best step in best.json, once its checkpoint is safe."""
        self.wait()
        step = self._manager.best_step()
        if jax.process_index():
            return
        if step is None:  # what it named is there no longer
            self.best_file.unlink(missing_ok=True)
        else:
            value = self._manager.metrics(step)["monitor"]
            value = -value if name == "loss" else value
            document = {"step": step, "monitor": name, "value": value}
            write_atomically(self.best_file, json.dumps(document) + "\n")

    def wait(self) -> None:
        self._manager.wait_until_finished()

    def close(self) -> None:
        self.wait()
        self._manager.close()


def _has_another_cause(error: Exception) -> bool:
    """Not the file: no memory, the device, a disk or a network that fails just now."""
    unreachable = isinstance(error, OSError) and not isinstance(
        error, FileNotFoundError
    )
    return unreachable or isinstance(error, (MemoryError, jax.errors.JaxRuntimeError))
