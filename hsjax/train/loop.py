"""The order of a training run: look, restore, step, look, save, stop."""

import contextlib
import functools
import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from hsjax.models.build import Model
from hsjax.models.placed import placed
from hsjax.sharding import activation_placer, place_batch, replicated
from hsjax.train.checkpoint import Checkpoints
from hsjax.train.diverged import diverged
from hsjax.train.objective import make_objective
from hsjax.train.processes import StopTogether
from hsjax.train.programs import StepPrograms, batches_from
from hsjax.train.speed import speed, step_flops
from hsjax.train.start import (
    TrainingParts,
    empty_running,
    initial_state,
    total_steps,
    training_order,
    training_step,
)
from hsjax.train.state import TrainState
from hsjax.train.step import Running
from hsjax.train.termination import Interrupted, TerminationFlag
from hsjax.train.validation import Validation
from hsjax.train.watch import (
    CompileCounter,
    MetricsLog,
    Stopwatch,
)
from hsjax.train.workdir import check_manifest

log = logging.getLogger("hsjax")


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
        flops = step_flops(config, model, shardings.params)
        given = {"spec": parts.train.spec, "mesh": mesh, "flops": flops}
        self.programs = functools.partial(StepPrograms, config, self.step, **given)
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
        batches = batches_from(config, self.data, start)
        running, seen = empty_running(config, self.mesh), start
        step, watch = self.programs(state, running), Stopwatch()
        quiet = None if jax.process_index() == 0 else True  # None: by the terminal
        bar = tqdm(total=steps, initial=start, desc="train", disable=quiet, leave=False)
        together = StopTogether(self.mesh)
        with TerminationFlag() as termination, CompileCounter() as compiled, bar:
            batch = self.placed(batches, watch)
            for done in range(start + 1, steps + 1):
                state, running = step(state, running, batch)
                if done < steps:  # on its way while the device is at work
                    batch = self.placed(batches, watch)
                bar.update()
                stop = together(termination.came)
                evaluate = done % self.eval_every == 0 or done == steps
                save = evaluate or stop or done % self.save_every == 0
                if save or done % config.train.log_every == 0:
                    with compiled.first_of("look"):
                        self.look(state, running, watch, done - seen, step.work())
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

    def placed(self, batches: Iterator, watch: Stopwatch) -> dict[str, jax.Array]:
        return place_batch(watch.wait(batches), self.mesh)

    def look(
        self, state, running: Running, watch: Stopwatch, steps: int, work: int
    ) -> None:
        """The one place where the host reads from the device.

        Args:
          steps, work: since the last look, and the operations of the model in them.
        """
        bad = int(running.bad_step)
        if bad >= 0:
            self.save(state)
            self.checkpoints.wait()
            self.lines.left_out(bad + 1)
            raise diverged(self.config, self.parts, bad)
        values = {f"train/{k}": float(v.compute()) for k, v in running.averages.items()}
        seconds = watch.total
        values["examples_per_second"] = steps * self.config.data.batch_size / seconds
        values |= speed(work, seconds, self.mesh)
        values["input_wait"] = watch.waited / seconds
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
