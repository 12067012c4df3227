"""What a config can ask for, from catalogue to report."""

import contextlib
import logging
import time
from pathlib import Path

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from hsjax.data.prepare import Catalogue, examples_of, read_catalogue
from hsjax.data.records import CatalogueError
from hsjax.evaluation.collect import describe_rows
from hsjax.evaluation.metrics import score
from hsjax.evaluation.plots import plot_curves
from hsjax.evaluation.predictions import Predictions, write_predictions
from hsjax.evaluation.tables import write_report
from hsjax.inference.predict import load_run, vocabulary
from hsjax.models.build import build_model
from hsjax.sharding import make_mesh
from hsjax.taxonomy import Taxonomy, TaxonomyError
from hsjax.train.loop import Diverged, Interrupted, Task, fit
from hsjax.train.watch import read_metrics
from hsjax.train.workdir import (
    WorkdirError,
    config_hash,
    is_done,
    keep_taxonomy,
    open_workdir,
)

log = logging.getLogger("hsjax")

USER_ERRORS = (CatalogueError, TaxonomyError, WorkdirError, FileNotFoundError)


@contextlib.contextmanager
def user_errors():
    """A user's mistake ends in a sentence, not in a traceback."""
    try:
        yield
    except USER_ERRORS as error:
        raise SystemExit(f"hsjax: {error}") from None
    except (Diverged, Interrupted) as error:
        raise SystemExit(f"hsjax: {error}") from None


def train(config, workdir: Path) -> None:
    """Trains, then scores the test part; goes on where it was cut off."""
    if is_done(config, workdir):
        print(f"{workdir} is done: see {workdir / 'report.md'}")
        return
    start = time.perf_counter()
    if config.train.compile_cache:
        compilation_cache.set_cache_dir(config.train.compile_cache)
    open_workdir(config, workdir)
    source = Path(config.init_from) if config.init_from else None
    catalogue = read_catalogue(config, source_run=source)
    keep_inputs(catalogue, workdir)
    mesh = make_mesh(config.train.data_devices, config.train.fsdp_devices)
    model = build_model(
        config,
        catalogue.spec,
        catalogue.tree,
        vocab_size=vocabulary(catalogue.tokenizer),
    )
    finished = fit(config, workdir, model, training_task(config, catalogue), mesh)
    log.info("best step %d; compiles after warm-up: %d", *finished[::2])
    run = load_run(workdir)
    rows = catalogue.rows(*config.eval.parts)
    predictions = run.predict(
        [catalogue.records[i] for i in rows],
        groups=catalogue.groups[rows],
        progress="test",
    )
    context = {"step": run.step, "seconds": round(time.perf_counter() - start, 1)}
    report(config, workdir, catalogue, predictions, context)


def keep_inputs(catalogue: Catalogue, workdir: Path) -> None:
    """What the run was built on, beside it."""
    keep_taxonomy(catalogue.tree, workdir)
    if jax.process_index() == 0:
        catalogue.quarantine.write(workdir / "quarantine.csv")
        if catalogue.tokenizer:
            catalogue.tokenizer.save(str(workdir / "tokenizer.json"))


def training_task(config, catalogue: Catalogue) -> Task:
    """Training and validation examples."""

    def part(name):
        rows = catalogue.rows(name)
        records = [catalogue.records[i] for i in rows]
        examples = examples_of(
            config,
            records,
            tokenizer=catalogue.tokenizer,
            spec=catalogue.spec,
            labels=catalogue.labels[rows],
            groups=catalogue.groups[rows],
        )
        return rows, records, examples

    train_rows, train_records, train_examples = part("train")
    rows, records, val_examples = part("val")
    return Task(
        tree=catalogue.tree,
        train=train_examples,
        val=val_examples,
        val_rows=describe_rows(
            records,
            groups=catalogue.groups[rows],
            outside=catalogue.outside[rows],
            levels=catalogue.tree.num_levels,
        ),
        train_row=np.array([r.row for r in train_records]),
        manifest=catalogue.manifest,
    )


def report(
    config, workdir: Path, catalogue: Catalogue, predictions: Predictions, context: dict
) -> None:
    """Writes everything that people look at."""
    if jax.process_index():
        return
    metrics = score(
        predictions,
        bootstrap=config.eval.bootstrap,
        gallery_size=config.eval.gallery_size,
    )
    write_predictions(predictions, workdir / "predictions.parquet")
    context = {
        "run": workdir.name,
        "data": config.data.path,
        "part": "+".join(config.eval.parts),
        "rows": len(predictions.row),
        "decode": config.eval.decode,
        "config_hash": config_hash(config),
        "taxonomy": f"{catalogue.tree.edition} {catalogue.tree!r}".strip(),
        "quarantine": catalogue.quarantine.counts(),
        "names": node_names(catalogue.tree),
        **context,
    }
    rows = read_metrics(workdir / "metrics.jsonl")
    if rows:
        plot_curves(rows, workdir / "curves.png", best_step=context.get("step"))
    write_report(workdir, predictions, metrics, context=context)
    print((workdir / "report.md").read_text())


def node_names(tree: Taxonomy) -> dict[str, str]:
    """Code -> name, for reports; paths speak for themselves."""
    if tree.separator:
        return {}
    pairs = zip(tree.codes, tree.names, strict=True)
    return {
        str(c): str(n)
        for codes, names in pairs
        for c, n in zip(codes, names, strict=True)
    }


TASKS = {"train": train}
