"""What the loop tells people: metrics.jsonl, TensorBoard, log lines, time waited."""

import contextlib
import json
import logging
import re
import time
from pathlib import Path

import jax
from clu.parameter_overview import get_parameter_overview

from hsjax.atomic import write_atomically
from hsjax.batch import IMAGE, BatchSpec
from hsjax.train.optim import frozen_leaves

log = logging.getLogger("hsjax")

NOT_FINITE = "not_finite"  # of a line: its step was left out
COMPILED = "/jax/core/compile/backend_compile_duration"


class MetricsLog:
    """`metrics.jsonl` (a line per look) and TensorBoard events, by one process.

    The log has a line per look, too, of validation only what matters: see `headline`.
    """

    def __init__(self, workdir: Path, config, *, start: int):
        """config: the `train` section."""
        self.path, self.writer = workdir / "metrics.jsonl", None
        self.monitor = config.monitor
        self.active = jax.process_index() == 0
        if self.active:
            self._cut(start)
            if config.tensorboard:
                from tensorboardX import SummaryWriter

                folder = str(workdir / "tensorboard")
                self.writer = SummaryWriter(folder, purge_step=start + 1)

    def _cut(self, start: int) -> None:
        """A resumed run repeats what came after its checkpoint."""
        rows = [row for row in read_metrics(self.path) if row["step"] <= start]
        write_atomically(self.path, "".join(json.dumps(row) + "\n" for row in rows))

    def write(self, step: int, values: dict[str, float]) -> None:
        if not self.active:
            return
        with open(self.path, "a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items() if self.writer else ():
            self.writer.add_scalar(name, value, step)
        shown = headline(values, self.monitor)
        line = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
        log.info("step %d  %s", step, line)

    def left_out(self, step: int) -> None:
        """A step whose loss or gradient was not finite."""
        self.write(step, {NOT_FINITE: 1.0})

    def close(self) -> None:
        if self.writer:
            self.writer.close()


def headline(values: dict[str, float], monitor: str) -> dict[str, float]:
    """What the log shows of a look: all of training, five figures of validation.

    They are the loss, accuracy and macro F1 of the deepest level that was measured,
    hierarchical F1 and `train.monitor`.
    """
    levels = [n for n in values if re.fullmatch(r"val/level\d+/accuracy", n)]
    deepest = max(levels, default="", key=lambda name: int(name.split("/")[1][5:]))
    names = ["val/loss", deepest, deepest.replace("/accuracy", "/macro_f1")]
    names += ["val/hierarchical/f1", f"val/{monitor}"]
    training = [name for name in values if not name.startswith("val/")]
    return {n: values[n] for n in (*training, *names) if n in values}


def tell_idle_settings(config, params, spec: BatchSpec) -> None:
    """Log lines of settings that do nothing, or do more than one may think.

    Args:
      params: dict of arrays, or of their shapes.
    """
    stored = [name for name, _ in spec.features]
    changes = []
    if set(stored) - {IMAGE}:
        drops = ("word_drop", "name_drop")
        changes += [f"data.text.{x}" for x in drops if config.data.text[x]]
    if IMAGE in stored:
        drawn = ("crop", "flip", "augment")
        changes += [f"data.image.{x}" for x in drawn if config.data.image[x]]
    if changes:
        told = ", ".join(stored), ", ".join(changes)
        log.info("%s: as features, they are not touched by %s", *told)
    frozen = frozen_leaves(config.optim, params)
    for tower in sorted(params.keys() & {"text", *config.model.modalities}):
        text = config.model.text
        group = config.model.image if tower == IMAGE else text
        group = text[tower] if tower in text and tower != IMAGE else group
        if group.dropout and all(jax.tree.leaves(frozen[tower])):
            told = "%s is frozen, yet its dropout of %g stays on in training; 0 = off"
            log.info(told, tower, group.dropout)


def tell_parameters(params, workdir: Path) -> None:
    """Totals per module into the log, every parameter into `parameters.txt`.

    Args:
      params: dict of arrays, or of their shapes.
    """
    sizes = {
        name: sum(leaf.size for leaf in jax.tree.leaves(part))
        for name, part in params.items()
    }
    told = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
    log.info("%s parameters: %s", f"{sum(sizes.values()):,}", told)
    if jax.process_index() == 0:
        text = get_parameter_overview(params, include_stats=False)
        write_atomically(workdir / "parameters.txt", text + "\n")


def read_metrics(path: Path) -> list[dict]:
    """Lines of a metrics.jsonl; a line torn by a kill ends the list."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def left_out_steps(workdir: Path) -> str:
    """What the report says of steps that were not finite, '' = there were none."""
    lines = read_metrics(workdir / "metrics.jsonl")
    steps = [f"{line['step']:,}" for line in lines if NOT_FINITE in line]
    if not steps:
        return ""
    return (
        "Loss or gradient was not finite at these steps, which were left out; the run"
        f" was started again after each: {', '.join(steps)}."
    )


class Stopwatch:
    """Seconds spent waiting for input, out of all."""

    def __init__(self):
        self.waited, self.begin = 0.0, time.perf_counter()

    def wait(self, iterator):
        start = time.perf_counter()
        item = next(iterator)
        self.waited += time.perf_counter() - start
        return item

    @property
    def total(self) -> float:
        return time.perf_counter() - self.begin

    def restart(self) -> None:
        self.__init__()


class CompileCounter:
    """Counts XLA compilations while it is entered, by jax's own events."""

    def __enter__(self):
        self.count, self.begun = 0, set()
        jax.monitoring.register_event_duration_secs_listener(self._hear)
        return self

    def _hear(self, event: str, duration: float, **kwargs) -> None:
        del duration, kwargs
        self.count += event == COMPILED

    @contextlib.contextmanager
    def first_of(self, part: str):
        """What the first of several equal parts compiles is not counted."""
        before = self.count
        yield
        if part not in self.begun:
            self.begun.add(part)
            self.count = before

    def __exit__(self, *exc):
        jax.monitoring.unregister_event_duration_listener(self._hear)
