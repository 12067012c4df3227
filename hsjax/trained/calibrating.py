"""A trained run is calibrated on labelled rows, and judged on others."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from hsjax.data.records import CatalogueError
from hsjax.evaluation.answer import make_answer
from hsjax.evaluation.calibration_report import Part, write_calibration_report
from hsjax.evaluation.collect import on_host
from hsjax.evaluation.conformal import COVERAGES, least_probability
from hsjax.evaluation.judged import (
    certainty_of,
    leaf_rows,
    level_maps,
    true_leaf_probs,
)
from hsjax.evaluation.metrics import labelled, readable
from hsjax.evaluation.predictions import Predictions
from hsjax.evaluation.temperature_fit import leaf_temperature, level_temperatures
from hsjax.evaluation.tree_calibration import TreeCalibration
from hsjax.features.live import Encoded
from hsjax.hierarchy import leaf_columns, leaf_paths
from hsjax.inference.calibration import FILE, kept_hash, write_calibration
from hsjax.inference.parameters import parameters_hash
from hsjax.inference.predict import Run, load_run
from hsjax.sharding import jit_whole, make_mesh
from hsjax.temperature import sibling_margins
from hsjax.train.config import gives_classes
from hsjax.trained.asked_rows import AskedRows
from hsjax.trained.calibration_rows import Asked, calibration_rows

FLOATS = 2**26  # of logits that temperatures are fitted on, at most
REPORT = "calibration"  # folder of the report, in a workdir


def calibrate_run(
    workdir: Path,
    *,
    output: Path | None = None,
    source: str | None = None,
    count: int = 0,
    kind: str = "temperature",
    features: Mapping[str, Path | str],
) -> TreeCalibration:
    """Fits a calibration, keeps it beside the model and writes a report of it.

    Fitted on the validation part and judged on the test part; or on some rows of
    another file, and judged on its others. Rows of which the model reads nothing are
    left out: what is promised is of answers, and they get none.

    Args:
      output: folder of calibration and report; None = the workdir, and a folder in it.
      source: another file; count: labelled rows of it to fit on, 0 = all.
      kind: of `KINDS`.

    Raises:
      CatalogueError, WorkdirError: whatever a user can mend, in words.
    """
    run = load_run(workdir, features=features)
    if not gives_classes(run.config):
        raise CatalogueError(f"{workdir} has learnt no classes: nothing to calibrate")
    folder = workdir / REPORT if output is None else output
    folder.mkdir(parents=True, exist_ok=True)
    named = {"source": source, "count": count, "folder": folder}
    fit, held = calibration_rows(run, workdir, **named)
    encode = Encoded()  # what stores lack, once for all
    temperature = _temperatures(run, fit.rows, encode)
    ask, before = _asking(run, encode), (1.0,) * len(temperature)
    (where, first), (_, after) = ask(fit, before), ask(fit, temperature)
    if not len(first):
        raise CatalogueError(f"{where}: none is left to fit on")
    known = _fitted(run, after, kind, temperature)
    known = known._replace(config=kept_hash(workdir), fitted=where)
    parts = [Part("fitted", where, first, known.mapped(after))]
    if held is not None:
        where, first = ask(held, before)
        _, after = ask(held, temperature, tuple(known.sets.values()))
        parts += [Part("held back", where, first, known.mapped(after))][: len(first)]
    kept = workdir if output is None else output
    write_calibration(known, kept)
    told = {"title": f"Calibration of {workdir.name}, step {run.step:,}"}
    told["resamples"] = run.config.eval.bootstrap
    print(write_calibration_report(folder, parts, run.tree, known, **told))
    print(f"{kept / FILE}; all files of the report: {folder}")
    return known


def _fitted(
    run: Run, p: Predictions, kind: str, temperature: tuple[float, ...]
) -> TreeCalibration:
    """Args: p: of the labelled rows, at the temperatures."""
    probs = true_leaf_probs(p, run.tree)
    group = p.group[leaf_rows(p, run.tree)]
    sets = {f"{c:g}": least_probability(probs, group, c) for c in COVERAGES}
    return TreeCalibration(
        kind=kind,
        temperature=temperature,
        maps=level_maps(p) if kind == "isotonic" else (),
        certainty=certainty_of(p, run.tree),
        sets=sets if len(probs) else {},
        step=run.step,
        config="",
        parameters=parameters_hash((run.params, run.stats)),
        fitted="",
        rows=len(p),
    )


def _asking(run: Run, encode: Encoded) -> Callable[..., tuple[str, Predictions]]:
    """`ask(asked, temperatures, set_leasts=())`: labelled rows that can be answered.

    Their name, which says how many are left out, and the predictions.
    """
    options = {"main": run.config.eval.decode, "topk": run.config.eval.topk}
    costs = {"costs": run.costs, "truth": True}
    answer = jit_whole(
        make_answer(run.model.apply, run.tree, **options, **costs), make_mesh()
    )

    def ask(asked: Asked, temperatures, set_leasts=()) -> tuple[str, Predictions]:
        fixed = {"temperatures": np.array(temperatures, np.float32)}
        if set_leasts:
            fixed["set_leasts"] = np.array(set_leasts, np.float32)
        found = run._replace(
            answer=lambda p, s, batch, **more: answer(p, s, batch, **fixed, **more)
        ).predict(
            asked.rows.records,
            groups=asked.rows.groups,
            progress=asked.name,
            encode=encode,
        )
        found = labelled(replace(found, embeddings={}))
        seen, name = readable(found), asked.name
        if blank := int((~seen).sum()):
            name += f", without {blank:,} of which the model reads nothing"
        return name, found.select(np.flatnonzero(seen))

    return ask


def _temperatures(run: Run, rows: AskedRows, encode: Encoded) -> tuple[float, ...]:
    """The likeliest ones; of every k-th row, where all would fill the memory."""
    tree, flat = run.tree, run.config.model.head.kind == "flat"

    @jax.jit
    def facts(params, stats, batch):
        outputs, _ = run.model.apply(params, stats, batch)
        labels, logits = batch["labels"], outputs.logits
        if flat:
            found = [leaf_columns(logits, tree)]
        else:
            found = sibling_margins(logits, labels, tree)
        here = [x for name, x in batch.items() if name.startswith("has_")]
        return found, labels, (batch["weight"] > 0) & jnp.stack(here).any(axis=0)

    every = -(-len(rows.records) * sum(tree.sizes) // FLOATS)
    some = rows.select(np.arange(0, len(rows.records), every))
    feed = run.feed(some.records, groups=some.groups, encode=encode)
    parts = []
    for batch in feed:
        found, labels, real = jax.tree.map(on_host, facts(run.params, run.stats, batch))
        parts.append(([x[real] for x in found], labels[real]))
    levels = [np.concatenate(x) for x in zip(*(p[0] for p in parts), strict=True)]
    labels = np.concatenate([p[1] for p in parts])
    if not flat:
        return tuple(level_temperatures(levels, labels >= 0))
    paths = leaf_paths(tree)[None]
    below = ((labels[:, None] == paths) | (labels[:, None] < 0)).all(axis=2)
    return (leaf_temperature(levels[0], below & (labels[:, :1] >= 0)),)
