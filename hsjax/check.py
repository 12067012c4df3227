"""What a run would meet, told in under a minute and without training."""

import math
import time
from pathlib import Path

import jax
import numpy as np

from hsjax.data.examples import Augmentation, assemble
from hsjax.data.prepare import Catalogue, examples_of, read_catalogue
from hsjax.evaluation.markdown import table
from hsjax.inference.predict import vocabulary
from hsjax.models.build import build_model
from hsjax.sharding import place_batch
from hsjax.train.objective import make_objective
from hsjax.train.start import (
    empty_running,
    initial_state,
    total_steps,
    training_mesh,
    training_step,
)

ROWS = 50_000  # more are not read unless data.rows says so
STEPS = 4  # timed, after the one that compiles
SHOWN = 10  # classes from each end


def write_check(config, workdir: Path) -> None:
    """Prints and writes check.md; flaws go to quarantine.csv."""
    config = config.copy_and_resolve_references()
    limited = config.data.rows is None and config.data.path != "synthetic"
    if limited:
        config.data.rows = ROWS
    start = time.perf_counter()
    catalogue = read_catalogue(config)
    seconds = time.perf_counter() - start
    catalogue.quarantine.write(workdir / "quarantine.csv")
    sections = {
        "Columns": _mapping(config),
        "Rows": _rows(catalogue, seconds, limited),
        "Flaws": _flaws(catalogue),
        "Tree": _tree(catalogue),
        "Classes": _classes(catalogue),
        "Needs": _needs(config, catalogue),
    }
    text = f"# Check of {config.data.path}\n\n" + "\n\n".join(
        f"## {title}\n\n{body}" for title, body in sections.items()
    )
    (workdir / "check.md").write_text(text + "\n")
    print(text)
    print(f"\nall files: {workdir}")


def _mapping(config) -> str:
    columns = config.data.columns
    rows = [[key, value] for key, value in sorted(columns.items()) if value]
    shown = [[key, ", ".join(v) if isinstance(v, tuple) else v] for key, v in rows]
    return table(["role", "column"], shown)


def _rows(catalogue: Catalogue, seconds: float, limited: bool) -> str:
    rows = [
        *map(list, catalogue.facts().items()),
        ["seconds to read", round(seconds, 1)],
    ]
    note = f"\n\nOnly the first {ROWS:,} rows were looked at (set data.rows for more)."
    return table(["", ""], rows) + (
        note if limited and _rows_read(catalogue) >= ROWS else ""
    )


def _rows_read(catalogue: Catalogue) -> int:
    counts = catalogue.quarantine.counts().items()
    dropped = sum(n for (_, action), n in counts if action == "dropped")
    return len(catalogue.records) + dropped


def _flaws(catalogue: Catalogue) -> str:
    counts = sorted(catalogue.quarantine.counts().items(), key=lambda item: -item[1])
    rows = [[reason, action, n] for (reason, action), n in counts]
    return table(["reason", "action", "rows"], rows)


def _tree(catalogue: Catalogue) -> str:
    tree = catalogue.tree
    rows = [
        [level + 1, size, int(tree.stop[level].sum()), int(tree.leaf[level].sum())]
        for level, size in enumerate(tree.sizes)
    ]
    text = table(["level", "nodes", "of them STOP", "of them leaves"], rows)
    cut = ", ".join(f"{code} ({n})" for code, n in sorted(catalogue.cut.items()))
    return text + (f"\n\nToo rare, cut to their parent: {cut}" if cut else "")


def _classes(catalogue: Catalogue) -> str:
    ends = [catalogue.records[i].path[-1] for i in catalogue.rows("train")]
    codes, counts = np.unique(ends, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    shown = order if len(order) <= 2 * SHOWN else [*order[:SHOWN], *order[-SHOWN:]]
    rows = [[codes[i], int(counts[i])] for i in shown]
    return table([f"label ({len(codes)} in training)", "training rows"], rows)


def _needs(config, catalogue: Catalogue) -> str:
    mesh = training_mesh(config)
    train = len(catalogue.rows("train"))
    steps = total_steps(config, train)
    step, state, running = make_timed_step(config, catalogue, mesh)
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    parameters = sum(x.size for x in jax.tree.leaves(state.params))
    pictures = sum(getattr(r.image, "nbytes", 0) for r in catalogue.records)
    batch, times = place_batch(_first_batch(config, catalogue), mesh), []
    for _ in range(STEPS + 1):
        start = time.perf_counter()
        state, running = jax.block_until_ready(step(state, running, batch))
        times.append(time.perf_counter() - start)
    compiling, per_step = times[0], float(np.median(times[1:]))
    epoch = math.ceil(train / config.data.batch_size) * per_step
    rows = [
        ["parameters", f"{parameters:,}"],
        ["pictures in memory", f"{pictures / 2**20:,.0f} MiB"],
        ["state on the device", f"{size / 2**20:,.0f} MiB"],
        ["checkpoints on disk (best and two latest)", f"{3 * size / 2**20:,.0f} MiB"],
        ["steps", f"{steps:,}"],
        ["seconds to compile", f"{compiling:.1f}"],
        ["seconds per step", f"{per_step:.3f}"],
        ["seconds per epoch", f"{epoch:,.0f}"],
        ["seconds for the whole run", f"{compiling + steps * per_step:,.0f}"],
    ]
    return table(["", ""], rows)


def make_timed_step(config, catalogue: Catalogue, mesh):
    """(jitted step, state, running): what `train` runs, for timing alone."""
    vocab_size = vocabulary(catalogue.tokenizer)
    model = build_model(config, catalogue.spec, catalogue.tree, vocab_size=vocab_size)
    steps = total_steps(config, len(catalogue.rows("train")))
    state, shardings, optimizer = initial_state(
        config, model, catalogue.spec, mesh, steps=steps
    )
    modalities = tuple(config.model.modalities)
    objective = make_objective(config.objective, catalogue.tree, modalities)
    step = training_step(config, model, objective, optimizer, shardings, mesh)
    return step, state, empty_running(config, mesh)


def _first_batch(config, catalogue: Catalogue) -> dict[str, np.ndarray]:
    rows = catalogue.rows("train")[: config.data.batch_size]
    rows = np.resize(rows, config.data.batch_size)
    examples = examples_of(
        config,
        [catalogue.records[i] for i in rows],
        tokenizer=catalogue.tokenizer,
        spec=catalogue.spec,
        labels=catalogue.labels[rows],
        groups=catalogue.groups[rows],
    )
    index = np.arange(len(rows))
    return assemble(examples, index, index, Augmentation())
