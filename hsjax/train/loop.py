"""The order of a training run: look, restore, step, look, save, stop."""

import contextlib
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from hsjax.models.build import Model
from hsjax.models.placed import placed
from hsjax.sharding import activation_placer, batch_shapes, place_batch, replicated
from hsjax.train.checkpoint import Checkpoints
from hsjax.train.objective import make_objective
from hsjax.train.processes import StopTogether
from hsjax.train.start import (
    TrainingParts,
    empty_running,
    initial_state,
    made_ahead,
    rows_of_batch,
    total_steps,
    training_order,
    training_step,
)
from hsjax.train.state import TrainState
from hsjax.train.step import Running
from hsjax.train.validation import Validation
from hsjax.train.watch import (
    CompileCounter,
    Interrupted,
    MetricsLog,
    Stopwatch,
    TerminationFlag,
    interrupts_ignored,
)
from hsjax.train.workdir import check_manifest

log = logging.getLogger("hsjax")


class Diverged(RuntimeError):
    """The loss or the gradient is not finite any more; names the step and its rows."""


class Finished(NamedTuple):
    """How a run ended.

    Attributes:
      step: of the best checkpoint.
      compiles: programs compiled after warm-up, 0 is as it should be; None where no
        step was left to be done.
    """

    step: int
    compiles: int | None


def fit(
    config,
    workdir: Path,
    model: Model,
    parts: TrainingParts,
    mesh: Mesh,
    *,
    warm_start: Callable | None = None,
) -> Finished:
    """Trains until the steps are done or validation stops getting better.

    Goes on from the newest checkpoint of `workdir`, bit for bit as if never
    interrupted.

    Raises:
      ConfigError: `train.monitor` names no metric, or rules leave a parameter out.
      Diverged: the last good state is saved; the message names the examples.
      Interrupted: SIGTERM or Ctrl-C; the state is saved.
      WorkdirError: the checkpoints are of other data.
    """
    steps = total_steps(config, len(parts.train))
    state, shardings, optimizer = initial_state(
        config, model, parts.train.spec, mesh, steps=steps, warm_start=warm_start
    )
    with contextlib.closing(Checkpoints(workdir)) as checkpoints:
        state = _resume(checkpoints, state, parts.manifest)
        checkpoints.write_best(config.train.monitor)
        lines = MetricsLog(workdir, config.train, start=int(state.step))
        with contextlib.closing(lines):
            run = _Run(
                config, model, parts, mesh, checkpoints, lines, optimizer, shardings
            )
            compiles = run.loop(state, steps)
        return Finished(checkpoints.best_step(), compiles)


def _resume(checkpoints: Checkpoints, state: TrainState, manifest: str) -> TrainState:
    """The newest checkpoint, or the fresh state where there is none."""
    restored = checkpoints.restore_latest(state)
    if restored is None:
        return state
    step, state, position = restored
    check_manifest(position["manifest"], manifest, checkpoints.directory.parent)
    log.info("resuming at step %d", step)
    return state


class _Run:
    """The loop with what it holds on to."""

    def __init__(
        self,
        config,
        model: Model,
        parts: TrainingParts,
        mesh: Mesh,
        checkpoints: Checkpoints,
        lines: MetricsLog,
        optimizer,
        shardings,
    ):
        self.config, self.parts, self.mesh = config, parts, mesh
        model = placed(model, activation_placer(config.train.activations, mesh))
        self.checkpoints, self.lines = checkpoints, lines
        modalities = tuple(config.model.modalities)
        given = {"train_labels": parts.train.labels, "mesh": mesh}
        objective = make_objective(config.objective, parts.tree, modalities, **given)
        self.validation = Validation(
            config,
            model,
            objective,
            tree=parts.tree,
            examples=parts.val,
            rows=parts.val_rows,
            mesh=mesh,
        )
        self.step = training_step(config, model, objective, optimizer, shardings, mesh)
        self.data = training_order(config, parts.train, mesh)
        epoch = max(1, math.ceil(len(parts.train) / config.data.batch_size))
        self.eval_every = config.train.eval_every or epoch
        self.save_every = config.train.checkpoint_every or self.eval_every

    def loop(self, state: TrainState, steps: int) -> int | None:
        """Steps until the end; returns how many programs compiled after warm-up.

        Looks, evaluations and saves compile what they need at their first time.
        """
        start, config = int(state.step), self.config
        if start >= steps or self.stopped(state):
            return None
        self.validation.warm_up(state)
        with interrupts_ignored():  # by the workers, whose batches are still wanted
            batches = made_ahead(config, self.data, start=start)
        running, seen = empty_running(config, self.mesh), start
        shapes = self.parts.train.spec.shapes(config.data.batch_size)
        shapes = batch_shapes(shapes, self.mesh)
        step, watch = self.step.lower(state, running, shapes).compile(), Stopwatch()
        quiet = None if jax.process_index() == 0 else True  # None: by the terminal
        bar = tqdm(total=steps, initial=start, desc="train", disable=quiet, leave=False)
        together = StopTogether(self.mesh)
        with TerminationFlag() as termination, CompileCounter() as compiled, bar:
            for done in range(start + 1, steps + 1):
                batch = place_batch(watch.wait(batches), self.mesh)
                state, running = step(state, running, batch)
                bar.update()
                stop = together(termination.came)
                evaluate = done % self.eval_every == 0 or done == steps
                save = evaluate or stop or done % self.save_every == 0
                if save or done % config.train.log_every == 0:
                    with compiled.first_of("look"):
                        self.look(state, running, watch, done - seen)
                        running, seen = empty_running(config, self.mesh), done
                    watch.restart()
                if evaluate:
                    with compiled.first_of("evaluation"):
                        state = self.evaluate(state)
                    watch.restart()
                    stop = stop or together.meanwhile(termination.came)
                elif save:
                    with compiled.first_of("save"):
                        self.save(state)
                if stop:
                    self.checkpoints.wait()
                    raise Interrupted(stop, done, self.checkpoints.directory.parent)
                if evaluate and self.stopped(state):
                    break
            return compiled.count

    def look(self, state, running: Running, watch: Stopwatch, steps: int) -> None:
        """The one place where the host reads from the device."""
        bad = int(running.bad_step)
        if bad >= 0:
            self.save(state)
            self.checkpoints.wait()
            self.lines.left_out(bad + 1)
            of = rows_of_batch(self.config, self.parts.train, bad)
            rows, ids = (
                x[of].tolist() for x in (self.parts.train_row, self.parts.train_id)
            )
            raise Diverged(
                f"loss or gradient was not finite at step {bad + 1}; the last good"
                f" state is saved. The batch held the catalogue rows {rows}, with the"
                f" ids {ids}; try a lower learning rate, or look at these rows"
            )
        values = {f"train/{k}": float(v.compute()) for k, v in running.averages.items()}
        values["examples_per_second"] = (
            steps * self.config.data.batch_size / watch.total
        )
        values["input_wait"] = watch.waited / watch.total
        self.lines.write(int(state.step), values)

    def evaluate(self, state: TrainState) -> TrainState:
        """Scores validation, saves, and names the best so far."""
        metrics = self.validation(state)
        shown = {f"val/{k}": v for k, v in metrics.items() if np.isfinite(v)}
        # before the checkpoint: a run killed in between repeats both
        self.lines.write(int(state.step), shown)
        value = self.validation.monitored(metrics)
        better = bool(np.float32(value) > state.best)  # in the precision that is kept
        state = state._replace(
            best=self.scalar(np.float32(value) if better else state.best),
            stale=self.scalar(np.int32(0 if better else int(state.stale) + 1)),
        )
        # without a better value it does not compete, so that a tie keeps the first
        self.save(state, monitor=value if better else None)
        if better:
            self.checkpoints.write_best(self.config.train.monitor)
        return state

    def scalar(self, value) -> jax.Array:
        return jax.device_put(value, replicated(self.mesh))

    def save(self, state: TrainState, monitor: float | None = None) -> None:
        step = int(state.step)
        seen = step * self.config.data.batch_size
        position = {
            "examples_seen": seen,
            "epoch": seen // len(self.parts.train),
            "manifest": self.parts.manifest,
        }
        self.checkpoints.save(step, state, position, monitor)

    def stopped(self, state: TrainState) -> bool:
        patience = self.config.train.patience
        return bool(patience) and int(state.stale) >= patience
