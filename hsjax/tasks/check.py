"""What a run would meet, told in under a minute and without training."""

import math
import time
from pathlib import Path

import jax
import numpy as np
import pyarrow.parquet as pq

from hsjax.atomic import write_atomically
from hsjax.data.batches import prefetched
from hsjax.data.cost_file import configured_costs
from hsjax.data.label_flaws import suspicious_labels
from hsjax.data.prepare import Catalogue, read_catalogue
from hsjax.data.prepared import is_prepared, open_prepared
from hsjax.evaluation.markdown import table
from hsjax.sharding import place_batch
from hsjax.train.devices import training_mesh
from hsjax.train.start import (
    few_steps_told,
    total_steps,
    training_order,
)
from hsjax.trained.opening import Encoders
from hsjax.trained.timed_step import make_timed_step
from hsjax.trained.training_data import examples_at

ROWS = 50_000  # more are not read unless data.rows says so
LINES = 2 * 2**30  # bytes of a text file whose lines are counted, a second or two
STEPS = 4  # timed, after the one that compiles
LOADED = 8  # batches that the loader is timed by
SHOWN = 10  # classes from each end


def write_check(config, workdir: Path, encoders: Encoders) -> None:
    """Prints and writes check.md; flaws go to quarantine.csv.

    Args:
      config, encoders: of `resolved`.
    """
    config = config.copy_and_resolve_references()
    limited = config.data.rows is None and config.data.path != "synthetic"
    if limited:
        config.data.rows = ROWS
    config.data.text.buckets = ()  # a step on the longest texts: shorter ones cost less
    start = time.perf_counter()
    flaws = workdir / "quarantine.csv"
    published = encoders["text"].directory if "text" in encoders else None
    catalogue = read_catalogue(config, published=published, flaws=flaws)
    seconds = time.perf_counter() - start
    catalogue.quarantine.write(flaws)
    total = rows_in_file(Path(config.data.path)) if limited else ROWS
    cut = limited and (total > ROWS if total else _rows_read(catalogue) >= ROWS)
    share = ROWS / total if cut and total else 1.0
    sections = {
        "Columns": _mapping(config),
        "Rows": _rows(catalogue, seconds, cut),
        "Flaws": _flaws(config, catalogue),
        "Tree": _tree(catalogue) + ("" if cut else _costs(config, catalogue)),
        "Classes": _classes(catalogue),
        "Needs": _needs(config, catalogue, encoders, share) + _scope(cut, total),
    }
    text = f"# Check of {config.data.path}\n\n" + "\n\n".join(
        f"## {title}\n\n{body}" for title, body in sections.items()
    )
    write_atomically(workdir / "check.md", text + "\n")
    print(text)
    print(f"\nall files: {workdir}")


def _mapping(config) -> str:
    columns = config.data.columns
    rows = [[key, value] for key, value in sorted(columns.items()) if value]
    shown = [[key, ", ".join(v) if isinstance(v, tuple) else v] for key, v in rows]
    return table(["role", "column"], shown)


def rows_in_file(path: Path) -> int:
    """Rows by what a file or folder says, or by lines; 0 = too many to be counted.

    Lines are nearly rows: a quoted line break counts, too.
    """
    if is_prepared(path):
        return len(open_prepared(path))
    if path.is_dir():  # of TFDS, which says it where it is imported
        return 0
    if path.suffix == ".parquet":
        return pq.read_metadata(path).num_rows
    if path.stat().st_size > LINES:
        return 0
    with path.open("rb") as file:
        lines = sum(part.count(b"\n") for part in iter(lambda: file.read(2**20), b""))
    return lines - (path.suffix != ".jsonl")  # the header


def _scope(cut: bool, total: int) -> str:
    """What the numbers of `Needs` speak of, where not all rows were looked at."""
    if not cut:
        return ""
    if total:
        return f"\n\nScaled up to the {total:,} rows of the file."
    return f"\n\nOf these {ROWS:,} rows alone: the file is too large to be counted."


def _rows(catalogue: Catalogue, seconds: float, cut: bool) -> str:
    rows = [
        *map(list, catalogue.facts().items()),
        ["seconds to read", round(seconds, 1)],
    ]
    note = f"\n\nOnly the first {ROWS:,} rows were looked at (set data.rows for more)."
    return table(["", ""], rows) + (note if cut else "")


def _rows_read(catalogue: Catalogue) -> int:
    return len(catalogue.records) + catalogue.quarantine.dropped()


def _flaws(config, catalogue: Catalogue) -> str:
    counts = sorted(catalogue.quarantine.counts().items(), key=lambda item: -item[1])
    rows = [[reason, action, n] for (reason, action), n in counts]
    counted = table(["reason", "action", "rows"], rows)
    labels = suspicious_labels(config, catalogue.records, catalogue.tree)
    return "\n\n".join([*catalogue.quarantine.warnings, *labels, counted])


def _tree(catalogue: Catalogue) -> str:
    tree = catalogue.tree
    rows = [
        [level + 1, size, int(tree.stop[level].sum()), int(tree.leaf[level].sum())]
        for level, size in enumerate(tree.sizes)
    ]
    text = table(["level", "nodes", "of them STOP", "of them leaves"], rows)
    cut = ", ".join(f"{code} ({n})" for code, n in sorted(catalogue.cut.items()))
    return text + (f"\n\nToo rare, cut to their parent: {cut}" if cut else "")


def _costs(config, catalogue: Catalogue) -> str:
    """What a file of costs adds; of a part of the rows its codes may be missing."""
    costs = configured_costs(config, catalogue.tree)
    if costs is None:
        return ""
    told = f"{len(costs.cost):,} pairs of leaves cost what {config.eval.cost_matrix}"
    return f"\n\n{told} says, all others their distance in the tree."


def _classes(catalogue: Catalogue) -> str:
    paths = [catalogue.records[i].path for i in catalogue.rows("train")]
    ends = [path[-1] for path in paths if path]
    codes, counts = np.unique(ends, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    shown = order if len(order) <= 2 * SHOWN else [*order[:SHOWN], *order[-SHOWN:]]
    names = _names(catalogue)
    rows = [
        [codes[i], int(counts[i]), names.get(str(codes[i]), "NOT IN THE TREE")]
        for i in shown
    ]
    if left := len(order) - len(shown):
        between = int(counts[order[SHOWN:-SHOWN]].sum())
        rows.insert(SHOWN, [f"... {left} labels between", between, ""])
    return table([f"label ({len(codes)} in training)", "training rows", "name"], rows)


def _names(catalogue: Catalogue) -> dict[str, str]:
    """Code -> name of every node; '' where the code says as much."""
    levels = zip(catalogue.tree.codes, catalogue.tree.names, strict=True)
    pairs = (pair for codes, names in levels for pair in zip(codes, names, strict=True))
    return {str(c): "" if c.endswith(name) else str(name) for c, name in pairs}


def _needs(config, catalogue: Catalogue, encoders, share: float) -> str:
    """Memory, disk and time of a run on all rows, of which a `share` was looked at."""
    mesh = training_mesh(config)
    train = round(len(catalogue.rows("train")) / share)
    steps = total_steps(config, train)
    timed = make_timed_step(config, catalogue, encoders, mesh)
    step, state, running = timed.step, timed.state, timed.running
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    parameters = sum(x.size for x in jax.tree.leaves(state.params))
    pictures = sum(_bytes_of(r.image) for r in catalogue.records) / share
    order = _first_rows(config, catalogue)
    batch, times = place_batch(order[0], mesh), []
    for _ in range(STEPS + 1):
        start = time.perf_counter()
        state, running = jax.block_until_ready(step(state, running, batch))
        times.append(time.perf_counter() - start)
    compiling, per_step = times[0], float(np.median(times[1:]))
    per_batch = _seconds_per_batch(config, order)
    slower = max(per_step, per_batch)  # the other one waits for it
    epoch = math.ceil(train / config.data.batch_size) * slower
    rows = [
        ["parameters", f"{parameters:,}"],
        ["pictures in memory", f"{pictures / 2**20:,.0f} MiB"],
        ["state on the device", f"{size / 2**20:,.0f} MiB"],
        ["checkpoints on disk (best and two latest)", f"{3 * size / 2**20:,.0f} MiB"],
        ["steps", f"{steps:,}"],
        ["seconds to compile", f"{compiling:.1f}"],
        ["seconds per step", f"{per_step:.3f}"],
        ["seconds to load a batch", f"{per_batch:.3f}"],
        ["seconds per epoch", f"{epoch:,.0f}"],
        ["seconds for the whole run", f"{compiling + steps * slower:,.0f}"],
    ]
    told = few_steps_told(config, train)
    return table(["", ""], rows) + (f"\n\n{told.capitalize()}." if told else "")


def _bytes_of(image) -> int:
    """Of a decoded picture, or of one that is kept as its file."""
    return len(image) if isinstance(image, bytes) else getattr(image, "nbytes", 0)


def _first_rows(config, catalogue: Catalogue):
    """Endless training batches of the first training rows, enough to time loading."""
    rows = catalogue.rows("train")[: LOADED * config.data.batch_size]
    return training_order(config, examples_at(config, catalogue, rows))


def _seconds_per_batch(config, order) -> float:
    """Of the loader alone, once what it made ahead is used up."""
    data = config.data
    batches = prefetched(
        order,
        start=0,
        threads=data.threads,
        workers=data.workers,
        buffer=data.prefetch,
    )
    for _ in range(data.prefetch + 1):
        next(batches)
    start = time.perf_counter()
    for _ in range(LOADED):
        next(batches)
    return (time.perf_counter() - start) / LOADED
