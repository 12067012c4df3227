"""The order of a training run: look, restore, step, look, save, stop."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from tqdm import tqdm

from hsjax.data.batches import evaluation_batches, prefetched, training_batches
from hsjax.data.examples import Augmentation, Examples
from hsjax.evaluation.collect import Rows, collect_predictions, make_answer
from hsjax.evaluation.metrics import score
from hsjax.models.build import Model
from hsjax.sharding import place_batch, replicated, state_specs
from hsjax.taxonomy import Taxonomy
from hsjax.train.checkpoint import Checkpoints
from hsjax.train.objective import make_objective, watched
from hsjax.train.optim import make_optimizer
from hsjax.train.state import TrainState, make_state
from hsjax.train.step import Running, make_step
from hsjax.train.watch import CompileCounter, MetricsLog, Stopwatch, TerminationFlag

log = logging.getLogger("hsjax")


class Diverged(RuntimeError):
    """The loss or the gradient stopped being finite; names the step and its examples."""


class Interrupted(RuntimeError):
    """SIGTERM came; the state is saved."""


class Task(NamedTuple):
    """What a run trains on and is watched by.

    Attributes:
      train, val: examples; val_rows: what is known of the rows of val.
      train_row: row numbers of the training examples, for messages.
      manifest: hash of the data, kept in every checkpoint.
    """

    tree: Taxonomy
    train: Examples
    val: Examples
    val_rows: Rows
    train_row: np.ndarray
    manifest: str


class Finished(NamedTuple):
    """How a run ended.

    Attributes:
      step: of the best checkpoint; state: from it.
      compiles: programs compiled after the first evaluation; 0 is as it should be.
    """

    step: int
    state: TrainState
    compiles: int


def total_steps(config, examples: int) -> int:
    """Steps of the run: `train.steps`, or as many as the epochs take."""
    return config.train.steps or max(
        1, math.ceil(config.train.epochs * examples / config.data.batch_size)
    )


def training_order(config, examples: Examples):
    """This process's endless batches; `[k]` is its part of the k-th global batch."""
    data, image = config.data, config.data.image
    return training_batches(
        examples,
        batch_size=data.batch_size,
        seed=config.seed,
        augmentation=Augmentation(
            seed=config.seed,
            crop=image.crop,
            flip=image.flip,
            word_drop=data.text.word_drop,
        ),
        weighted_sampling=data.weighted_sampling,
        process=jax.process_index(),
        processes=jax.process_count(),
    )


def initial_state(
    config,
    model: Model,
    spec,
    mesh: Mesh,
    *,
    steps: int,
    warm_start: Callable | None = None,
) -> tuple[TrainState, object, object]:
    """(state, its shardings, optimizer), placed on the mesh before anything is computed."""
    dummy = spec.padding(max(2, mesh.size))
    key = jax.random.key(config.seed)
    shapes, _ = jax.eval_shape(model.init, key, dummy)
    optimizer = make_optimizer(config.optim, shapes, steps)

    def make(key):
        params, stats = model.init(key, dummy)
        return make_state(params, stats, optimizer, ema=config.train.ema > 0)

    specs = state_specs(jax.eval_shape(make, key), config.train.sharding, mesh)
    shardings = jax.tree.map(lambda s: NamedSharding(mesh, s), specs)
    state = jax.jit(make, out_shardings=shardings)(key)
    if warm_start is not None:
        params = jax.device_put(warm_start(state.params), shardings.params)
        averaged = (jax.tree.map(np.asarray, params), state.stats) if state.ema else ()
        ema = jax.device_put(averaged, shardings.ema)
        state = state._replace(params=params, ema=ema)
    return state, shardings, optimizer


def fit(
    config,
    workdir: Path,
    model: Model,
    task: Task,
    mesh: Mesh,
    *,
    warm_start: Callable | None = None,
) -> Finished:
    """Trains until the steps are done or validation stops getting better.

    Goes on from the newest checkpoint of `workdir`, bit for bit as if never
    interrupted.

    Raises:
      Diverged: the last good state is saved; the message names the examples.
      Interrupted: SIGTERM; the state is saved.
    """
    steps = total_steps(config, len(task.train))
    state, shardings, optimizer = initial_state(
        config, model, task.train.spec, mesh, steps=steps, warm_start=warm_start
    )
    checkpoints = Checkpoints(workdir)
    restored = checkpoints.restore_latest(state)
    if restored:
        step, state, position = restored
        if position["manifest"] != task.manifest:
            raise ValueError(
                f"{workdir} was trained on other rows or another split: the catalogue has"
                " changed since; take a new workdir, or init_from for a warm start"
            )
        log.info("resuming at step %d", step)
    run = _Run(
        config, workdir, model, task, mesh, checkpoints, steps, optimizer, shardings
    )
    try:
        compiles = run.loop(state)
        best, state = checkpoints.restore_best(state)
    finally:
        checkpoints.close()
        run.log.close()
    return Finished(best, state, compiles)


class _Run:
    """The loop with what it holds on to."""

    def __init__(
        self,
        config,
        workdir,
        model,
        task,
        mesh,
        checkpoints,
        steps,
        optimizer,
        shardings,
    ):
        self.config, self.task, self.mesh, self.steps = config, task, mesh, steps
        self.checkpoints, self.log, self.workdir = checkpoints, None, workdir
        objective = make_objective(
            config.objective, task.tree, tuple(config.model.modalities)
        )
        step = make_step(
            model.apply, objective, optimizer, seed=config.seed, ema=config.train.ema
        )
        out = (shardings, replicated(mesh))
        self.step = jax.jit(step, donate_argnums=(0, 1), out_shardings=out)
        answer = make_answer(
            model.apply, task.tree, decodes=("path",), topk=1, objective=objective
        )
        self.answer = jax.jit(answer)
        self.data, data = training_order(config, task.train), config.data
        epoch = max(1, math.ceil(len(task.train) / data.batch_size))
        self.eval_every = config.train.eval_every or epoch
        self.save_every = config.train.checkpoint_every or self.eval_every
        self.watched = watched(config.objective)

    def loop(self, state: TrainState) -> int:
        """Steps until the end; returns how many programs were compiled after warm-up."""
        start, config = int(state.step), self.config
        self.log = MetricsLog(
            self.workdir, tensorboard=config.train.tensorboard, start=start
        )
        if start >= self.steps or self.stopped(state):
            return 0
        data = config.data
        batches = prefetched(
            self.data,
            start=start,
            threads=data.threads,
            workers=data.workers,
            buffer=data.prefetch,
        )
        running, watch = self.empty(), Stopwatch()
        bar = tqdm(
            total=self.steps, initial=start, desc="train", disable=None, leave=False
        )
        warm, seen = None, start
        with TerminationFlag() as termination, CompileCounter() as compiled, bar:
            for done in range(start + 1, self.steps + 1):
                batch = place_batch(watch.wait(batches), self.mesh)
                state, running = self.step(state, running, batch)
                bar.update()
                last = done == self.steps or termination.raised
                evaluate = done % self.eval_every == 0 or last
                save = done % self.save_every == 0 or evaluate
                if done % config.train.log_every == 0 or save:
                    self.look(state, running, watch, done - seen)
                    running, seen = self.empty(), done
                    watch.restart()
                if termination.raised:
                    self.save(state)
                    self.checkpoints.wait()
                    raise Interrupted(f"SIGTERM: saved step {done} in {self.workdir}")
                if evaluate:
                    state = self.evaluate(state)
                    watch.restart()
                elif save:
                    self.save(state)
                if evaluate and self.stopped(state):
                    break
                if evaluate and warm is None:
                    warm = compiled.count
            return compiled.count - (compiled.count if warm is None else warm)

    def empty(self) -> Running:
        return jax.device_put(Running.empty(self.watched), replicated(self.mesh))

    def look(self, state, running: Running, watch: Stopwatch, steps: int) -> None:
        """The one place where the host reads from the device."""
        bad = int(running.bad_step)
        if bad >= 0:
            self.save(state)
            self.checkpoints.wait()
            rows = self.task.train_row[self.data[bad]["index"]].tolist()
            raise Diverged(
                f"loss or gradient was not finite at step {bad + 1}; the last good state is"
                f" saved. The batch held the catalogue rows {rows}; try a lower learning"
                " rate, or look at these rows"
            )
        values = {f"train/{k}": float(v.compute()) for k, v in running.averages.items()}
        values["examples_per_second"] = (
            steps * self.config.data.batch_size / watch.total
        )
        values["input_wait"] = watch.waited / watch.total
        self.log.write(int(state.step), values)

    def evaluate(self, state: TrainState) -> TrainState:
        """Scores validation, remembers the best, saves."""
        params, stats = state.evaluated
        batches = evaluation_batches(
            self.task.val,
            batch_size=self.config.eval.batch_size,
            process=jax.process_index(),
            processes=jax.process_count(),
        )
        predictions, losses = collect_predictions(
            lambda batch: self.answer(params, stats, batch),
            (place_batch(batch, self.mesh) for batch in batches),
            rows=self.task.val_rows,
            tree=self.task.tree,
        )
        metrics = score(
            predictions, bootstrap=0, gallery_size=self.config.eval.gallery_size
        )
        metrics |= losses
        monitor = self.config.train.monitor
        if monitor not in metrics:
            raise ValueError(f"train.monitor is {monitor!r}; known: {sorted(metrics)}")
        value = -metrics[monitor] if monitor == "loss" else metrics[monitor]
        better = value > float(state.best)
        stale = 0 if better else int(state.stale) + 1
        best = value if better else float(state.best)
        state = state._replace(
            best=jax.device_put(np.float32(best), state.best.sharding),
            stale=jax.device_put(np.int32(stale), state.stale.sharding),
        )
        self.save(state, monitor=value)
        if better:
            self.checkpoints.write_best(int(state.step), monitor, metrics[monitor])
        shown = {f"val/{k}": v for k, v in metrics.items() if np.isfinite(v)}
        self.log.write(int(state.step), shown)
        return state

    def save(self, state: TrainState, monitor: float | None = None) -> None:
        step = int(state.step)
        seen = step * self.config.data.batch_size
        position = {
            "examples_seen": seen,
            "epoch": seen // len(self.task.train),
            "manifest": self.task.manifest,
        }
        self.checkpoints.save(step, state, position, monitor)

    def stopped(self, state: TrainState) -> bool:
        patience = self.config.train.patience
        return bool(patience) and int(state.stale) >= patience
