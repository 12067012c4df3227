"""What the loop tells people: metrics.jsonl, TensorBoard, log lines, time waited."""

import contextlib
import json
import logging
import signal
import time
from pathlib import Path

import jax

log = logging.getLogger("hsjax")

COMPILED = "/jax/core/compile/backend_compile_duration"


class MetricsLog:
    """`metrics.jsonl` (a line per look) and TensorBoard events, by one process."""

    def __init__(self, workdir: Path, *, tensorboard: bool, start: int):
        self.path, self.writer = workdir / "metrics.jsonl", None
        self.active = jax.process_index() == 0
        if self.active:
            self._cut(start)
            if tensorboard:
                from tensorboardX import SummaryWriter

                folder = str(workdir / "tensorboard")
                self.writer = SummaryWriter(folder, purge_step=start + 1)

    def _cut(self, start: int) -> None:
        """A resumed run repeats what came after its checkpoint."""
        rows = [row for row in read_metrics(self.path) if row["step"] <= start]
        self.path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def write(self, step: int, values: dict[str, float]) -> None:
        if not self.active:
            return
        with open(self.path, "a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items() if self.writer else ():
            self.writer.add_scalar(name, value, step)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        log.info("step %d  %s", step, shown)

    def close(self) -> None:
        if self.writer:
            self.writer.close()


def read_metrics(path: Path) -> list[dict]:
    """Lines of a metrics.jsonl; a line torn by a kill ends the list."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


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


class TerminationFlag:
    """Remembers SIGTERM, so that the loop can save and leave between two steps.

    Of this process alone: where several train together and only some are told, they
    would save at different steps.
    """

    def __enter__(self):
        self.raised = False
        self._before = signal.signal(signal.SIGTERM, self._set)
        return self

    def _set(self, *_):
        self.raised = True

    def __exit__(self, *exc):
        signal.signal(signal.SIGTERM, self._before)
