"""What `bench cost` measures: parameters, FLOPs and time for a product, row by row.

A trained run is asked by its own answering function: the forward pass with every
decode. Where it stands on cached features, what their frozen encoders cost is said
apart. A baseline is fitted again, as no run stores it.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from hsjax.batch import IMAGE
from hsjax.data.columns import model_columns
from hsjax.data.features import stores_of
from hsjax.data.store import store_facts
from hsjax.evaluation.markdown import table
from hsjax.inference.predict import Run, load_run, run_config
from hsjax.progress import progress
from hsjax.sweep.lists import Run as Planned
from hsjax.sweep.lists import is_done_below, read_runs, row_names
from hsjax.train.optim import frozen_leaves
from hsjax.train.workdir import ConfigError
from hsjax.trained.asked_rows import own_catalogue
from hsjax.trained.programs import StoreCosts, program_cost, size, timed
from hsjax.trained.reports import trained_baseline
from hsjax.trained.training_data import scored_rows

log = logging.getLogger("hsjax")

# of the JSON, beside the rows
TAKEN = {"name", "load", "load_after", "cores", "threads", "rounds", "noisy"}
SUMS = ("parameters", "flops", "ms")  # over the encoders of a run
HEAD = ("row", "parameters", "trained", "model, MFLOPs", "model, ms")
HEAD += ("encoders, parameters", "encoders, MFLOPs", "encoders, ms", "batch")


def bench_cost(
    path: Path,
    root: Path,
    *,
    common: Sequence[str] = (),
    only: Sequence[str] = (),
    rounds: int = 9,
) -> dict[str, dict]:
    """Row of a list of runs -> what a product costs there, by its first trained seed.

    `model_flops` and `model_ms` are of the model alone, on its raw inputs or on cached
    features; `encoder_flops` and `encoder_ms` of the encoders of those features, None
    where one is not at hand; all are for a product in a batch of `batch_size`.

    Args:
      path, common: of `read_runs`; root: folder of the workdirs.
      only: rows of the list, () = all.
      rounds: timed turns of each program.

    Raises:
      CatalogueError, ConfigError, WorkdirError: whatever a user can mend, in words.
    """
    found, stores = {}, StoreCosts(rounds)
    runs = first_trained(read_runs(path, common, root, only=only), root, only)
    for run in progress(runs, "models", unit="row"):
        workdir = root / run.name
        config = run_config(workdir)
        if config.task == "baseline":
            cost, encoders = baseline_cost(config, workdir, rounds=rounds), {}
        else:
            cost = model_cost(load_run(workdir), rounds=rounds)
            encoders = stores.of(config)
        found[run.row] = {"run": run.name, **cost, **_summed(config, encoders)}
    return found


def first_trained(
    runs: Sequence[Planned], root: Path, only: Sequence[str]
) -> list[Planned]:
    """Of every row that is asked for, the first run that is trained.

    Raises:
      ConfigError: an unknown row, a row of a name that the JSON needs, or nothing is
        trained yet.
    """
    found = []
    for row in row_names(runs, only):
        if row in TAKEN:
            raise ConfigError(f"the row {row!r} needs another name to be measured")
        members = (run for run in runs if run.row == row)
        first = next((run for run in members if is_done_below(root, run)), None)
        if first is None:
            log.warning("%s: no run of it is trained yet, and it is left out", row)
        else:
            found.append(first)
    if not found:
        raise ConfigError(f"{root}: no run of the list is trained yet")
    return found


def model_cost(run: Run, *, rounds: int) -> dict:
    """Of a trained model: parameters, and FLOPs and milliseconds for a product."""
    rows = run.config.eval.batch_size
    frozen = frozen_leaves(run.config.optim, run.params)
    learnt = jax.tree.map(lambda x, still: 0 if still else x.size, run.params, frozen)
    batch = run.params, run.stats, full_batch(run, rows)
    cost = program_cost(run.answer, [batch], items=rows, rounds=rounds)
    return {
        "batch_size": rows,
        "parameters": size(run.params),
        "trained_parameters": sum(jax.tree.leaves(learnt)),
        **{f"model_{name}": value for name, value in cost.items()},
    }


def full_batch(run: Run, rows: int) -> dict[str, np.ndarray]:
    """Products that have everything; shapes alone decide what a program costs."""
    rng, batch = np.random.default_rng(0), run.spec.padding(rows)
    for name, array in batch.items():
        if name.endswith("_ids"):
            count = run.tokenizer.get_vocab_size()
            array[:] = rng.integers(0, count, array.shape)
        elif name == IMAGE:
            array[:] = rng.integers(0, 256, array.shape)
        elif name.endswith("_features"):
            array[:] = rng.standard_normal(array.shape)
        elif array.dtype == np.bool_ or name == "weight":
            array[:] = 1
    return batch


def baseline_cost(config, workdir: Path, *, rounds: int) -> dict:
    """Of a baseline: the numbers it keeps, FLOPs and milliseconds for a product.

    FLOPs are those of its kind, without TF-IDF; the time cannot be had without it.

    Raises:
      CatalogueError, WorkdirError: see `own_catalogue`.
    """
    catalogue, columns = own_catalogue(config, workdir, None), model_columns(config)
    scored = scored_rows(config, catalogue)
    # a temperature costs nothing to answer with
    model = trained_baseline(config, catalogue, calibrate=False)
    items = model.items([catalogue.records[i] for i in scored], columns)
    some = items[: config.eval.batch_size]
    work, cost = (lambda: model.log_probs(some)), {"flops": model.flops(items)}
    cost |= timed(work, rounds=rounds, items=len(some))
    return {
        "batch_size": len(some),
        "parameters": model.parameters,
        "trained_parameters": model.parameters,
        **{f"model_{name}": value for name, value in cost.items()},
    }


def _summed(config, encoders: Mapping[str, Mapping]) -> dict:
    """What all encoders of a run cost together, and each of them.

    Each stream takes its own FLOPs and time; parameters that streams share are one's.
    """
    if not encoders:
        return {}
    known = [x for x in encoders.values() if x.get("ms") is not None]
    found = {"encoders": dict(encoders)}
    weights = {
        m: store_facts(x).get("weights", m) for m, x in stores_of(config).items()
    }
    # a text and an image tower of the same file are two
    distinct = {(m == IMAGE, weights.get(m, m)): x for m, x in encoders.items()}
    for name in SUMS:
        every = distinct if name == "parameters" else encoders
        values = [x.get(name) for x in every.values()]
        found[f"encoder_{name}"] = None if None in values else sum(values)
    if known:
        found["encoder_ms_spread"] = max(x["ms_spread"] for x in known)
    return found


def cost_markdown(result: Mapping) -> str:
    """The table of a whole result, and what its figures mean.

    Args:
      result: rows of `bench_cost`, with load, cores and `noisy` beside them.
    """
    found = {k: v for k, v in result.items() if isinstance(v, Mapping)}
    lines = []
    for name, x in found.items():
        line = [name, x["parameters"], x["trained_parameters"]]
        line += [_short(x["model_flops"], 1e6), _short(x["model_ms"])]
        line += [x.get("encoder_parameters")]
        line += [_short(x.get("encoder_flops"), 1e6), _short(x.get("encoder_ms"))]
        lines.append([*line, x["batch_size"]])
    told = (
        "Of one product, answered in a batch of so many. The model: its own answering"
        " function with every decode, on raw inputs or on cached features. Encoders:"
        " the frozen ones of those features, which run where nothing is cached; on"
        " texts of the catalogue, and on pictures of their size; one that several"
        " streams share has its parameters counted once. FLOPs as XLA counts"
        " them in the compiled program; of a baseline, two for each weight that meets"
        " a feature of the text. Milliseconds: the median of"
        f" {result['rounds']} turns on ready batches ({result['threads']}); those of a"
        " baseline include TF-IDF."
    )
    load = f"{result['load']:.1f} before and {result['load_after']:.1f} after"
    loads = f"Load average: {load}, {result['cores']} cores."
    if result["noisy"]:
        loads += " **Noisy**: other work disturbed; times are not to be quoted."
    return f"# Cost of a product\n\n{table(HEAD, lines)}\n\n{told}\n\n{loads}\n"


def _short(value: float | None, unit: float = 1.0) -> str:
    """Three digits; '' where nothing was measured.

    >>> [_short(x) for x in (1234.5, 12.345, 0.012345, None)]
    ['1,234', '12.3', '0.0123', '']
    """
    if value is None:
        return ""
    value /= unit
    digits = 2 - int(np.floor(np.log10(abs(value)))) if value else 0
    return f"{value:,.{max(0, digits)}f}"
