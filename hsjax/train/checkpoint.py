"""State and data position as one, saved atomically in the background (Orbax)."""

import json
import logging
import os
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

log = logging.getLogger("hsjax")


class CheckpointError(RuntimeError):
    """No checkpoint of a workdir can be read."""


class Checkpoints:
    """Best and latest checkpoints of a workdir.

    The data part is three numbers: the order of examples is a pure function of the seed
    and the number of examples seen, so any number of workers, processes or devices can
    go on. The best is the newest that was saved with a monitored value.
    """

    def __init__(self, workdir: Path):
        self.directory = Path(workdir).absolute() / "checkpoints"
        self.best_file = Path(workdir) / "best.json"
        keep = BestN(
            get_metric_fn=lambda m: m["monitor"],
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(n=2), keep]),
            best_fn=lambda m: m["monitor"],
            best_mode="max",
        )
        self._manager = ocp.CheckpointManager(self.directory, options=options)

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

        A damaged checkpoint is named in the log, and deleted once an older one has
        taken its place.

        Args:
          like: a state of the same shapes; its shardings are those of the result.

        Raises:
          CheckpointError: there are checkpoints, but none can be read.
        """
        damaged = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                found = self._restore(step, like)
            except Exception as error:  # whatever a torn file makes of the reader
                log.warning("checkpoint %d cannot be read, skipped: %s", step, error)
                damaged[step] = error
                continue
            for torn in damaged:
                self._manager.delete(torn)
            return step, *found
        if damaged:
            error = str(damaged[max(damaged)])[:300]
            raise CheckpointError(
                f"none of the checkpoints {sorted(damaged)} in {self.directory} can be"
                f" read; move the folder away to start again ({error})"
            )
        return None

    def restore_best(self, like):
        """(step, state) of the best checkpoint."""
        step = self.best_step()
        return step, self._restore(step, like)[0]

    def restore_parameters(self, like: dict):
        """(step, {name: tree}) of the best checkpoint: some fields of the state alone.

        Args:
          like: field of the state -> tree of arrays of its shapes and shardings.

        Raises:
          FileNotFoundError: there is no checkpoint.
        """
        step = self.best_step()
        args = ocp.args.PyTreeRestore(
            item=like,
            restore_args=ocp.checkpoint_utils.construct_restore_args(like),
            partial_restore=True,
        )
        found = self._manager.restore(step, args=ocp.args.Composite(state=args))
        return step, found.state

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
        found = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(target), data=ocp.args.JsonRestore()
            ),
        )
        return found.state, found.data

    def write_best(self, name: str) -> None:
        """Names the best step in best.json, once its checkpoint is safe."""
        self.wait()
        step = self._manager.best_step()
        if step is not None and jax.process_index() == 0:
            value = self._manager.metrics(step)["monitor"]
            value = -value if name == "loss" else value
            document = {"step": step, "monitor": name, "value": value}
            write_atomically(self.best_file, json.dumps(document) + "\n")

    def wait(self) -> None:
        self._manager.wait_until_finished()

    def close(self) -> None:
        self.wait()
        self._manager.close()


def write_atomically(path: Path, text: str) -> None:
    """Writes beside the file and renames, so that a reader never sees half of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    os.replace(part, path)
