"""What a config can ask for, from catalogue to report."""

import contextlib
import errno
import functools
import logging
import time
from collections.abc import Callable
from pathlib import Path

import jax

from hsjax.data.prepare import Catalogue
from hsjax.data.records import CatalogueError
from hsjax.data.stored_records import selected
from hsjax.features.frozen_encoder import fingerprint
from hsjax.inference.predict import load_run
from hsjax.interrupts import interrupts_told
from hsjax.models.published_files import PublishedError
from hsjax.models.published_start import published_start
from hsjax.models.published_towers import read_towers
from hsjax.taxonomy import Taxonomy
from hsjax.train.checkpoint import CheckpointError, checkpoint_steps
from hsjax.train.claim import claimed
from hsjax.train.devices import set_up_jax, training_mesh
from hsjax.train.diverged import Diverged
from hsjax.train.kept import kept_encoders, read_train_counts
from hsjax.train.loop import fit
from hsjax.train.objective import check_objective
from hsjax.train.start import few_steps_told, tell_rules
from hsjax.train.warmstart import warm_start
from hsjax.train.watch import left_out_steps, tell_idle_settings, tell_parameters
from hsjax.train.workdir import ConfigError, WorkdirError, holds_results, is_done
from hsjax.trained.growing import source_classes
from hsjax.trained.opening import (
    model_of,
    open_catalogue,
    resolved,
)
from hsjax.trained.reports import catalogue_context, fitted_baseline, write_results
from hsjax.trained.training_data import scored_rows, training_parts
from hsjax.tree.codes import TaxonomyError

log = logging.getLogger("hsjax")

USER_ERRORS = (CatalogueError, CheckpointError, ConfigError, TaxonomyError)
USER_ERRORS += (PublishedError, WorkdirError, Diverged)
USER_ERRORS += (FileNotFoundError, FileExistsError, NotADirectoryError, PermissionError)


@contextlib.contextmanager
def user_errors(then: str = ""):
    """A user's mistake or Ctrl-C ends in a sentence, not in a traceback.

    Args:
      then: see `interrupts_told`.
    """
    try:
        with interrupts_told(then):
            yield
    except USER_ERRORS as error:
        raise SystemExit(f"hsjax: {error}") from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        told = f"no space left{f' for {error.filename}' if error.filename else ''}"
        raise SystemExit(f"hsjax: {told}; make room{then}") from None


def train(config, workdir: Path) -> None:
    """Trains, then scores the test part; goes on where it was cut off."""
    config, encoders = resolved(config, workdir)
    if is_done(config, workdir):
        if jax.process_index() == 0:
            print(f"{workdir} is done: see {workdir / 'report.md'}")
        return
    check_objective(config.objective, tuple(config.model.modalities))
    set_up_jax(config)
    with claimed(workdir):
        _train(config, workdir, encoders)


def _train(config, workdir: Path, encoders) -> None:
    start = time.perf_counter()
    mesh = training_mesh(config)
    catalogue = open_catalogue(config, workdir, encoders)
    rows = scored_rows(config, catalogue)
    model, spec = model_of(config, catalogue, encoders, workdir), catalogue.spec
    shapes, _ = jax.eval_shape(model.init, jax.random.key(0), spec.padding(2))
    tell_parameters(shapes, workdir)
    tell_rules(config.optim, shapes)
    tell_idle_settings(config, shapes, spec)
    parts = training_parts(config, catalogue)
    if told := few_steps_told(config, len(parts.train)):
        log.warning("%s", told)
    begin = beginning(config, workdir, catalogue.tree)
    finished = fit(config, workdir, model, parts, mesh, warm_start=begin)
    compiles = "-" if finished.compiles is None else finished.compiles
    log.info("best step %d; compiled after warm-up: %s", finished.step, compiles)
    run = load_run(workdir)
    predictions = run.predict(
        selected(catalogue.records, rows),
        groups=catalogue.groups[rows],
        progress="test",
    )
    facts = {
        "step": run.step,
        "seconds": round(time.perf_counter() - start, 1),
        "compiled_after_warmup": compiles,
    }
    report(config, workdir, catalogue, predictions, facts)


def beginning(config, workdir: Path, tree: Taxonomy) -> Callable | None:
    """`start(fresh) -> tree` of a run's first state; None = it stays as it is drawn.

    Published towers first, then what `init_from` loads over them. A run that goes on
    has its parameters from its checkpoint, and reads neither again.

    Raises:
      PublishedError: an encoder that cannot be used, or is no longer the one that the
        workdir keeps.
      ConfigError: see `warm_start`.
    """
    if checkpoint_steps(workdir):
        return None
    starts, encoders = [], read_towers(config)
    # a report without its checkpoints: the encoder may have changed since
    kept = kept_encoders(workdir) if holds_results(workdir) else {}
    for tower, known in kept.items():
        if fingerprint(encoders[tower]) != known["weights"]:
            raise PublishedError(
                f"{known['source']} is no longer the encoder that {workdir} was begun"
                " with: bring that one back, or take a new workdir"
            )
    loaded = {t: x for t, x in encoders.items() if not config.model[t].random}
    if loaded:
        starts.append(published_start(loaded))
    if config.init_from:
        starts.append(source_parameters(config, tree))
    if not starts:
        return None
    return lambda fresh: functools.reduce(lambda x, start: start(x), starts, fresh)


def report(config, workdir: Path, catalogue: Catalogue, predictions, facts) -> None:
    """Scores a run's own rows; `facts` of the run stand in the report's context."""
    context = catalogue_context(config, catalogue) | {"run": workdir.name} | facts
    if told := left_out_steps(workdir):
        context["sections"]["Training"] = told
    write_results(
        workdir,
        predictions,
        config=config,
        tree=catalogue.tree,
        context=context,
        train_counts=read_train_counts(workdir),
    )


def source_parameters(config, tree: Taxonomy):
    """Fresh parameters -> those of `config.init_from`, classes by code.

    Raises:
      ConfigError, CatalogueError: see `source_classes`.
    """
    run = load_run(Path(config.init_from), answering=False)
    told = f"{config.init_from}, step {run.step:,}"
    return warm_start(
        *source_classes(config, run, tree),
        tree,
        heads=(run.config.model.head, config.model.head),
        rules=config.init_rules,
        told=lambda moved: log.info("init_from %s: %s", told, moved),
    )


def baseline(config, workdir: Path) -> None:
    """B1 of Paper A on the same split, scored the same way."""
    config, encoders = resolved(config, workdir)
    if is_done(config, workdir):
        print(f"{workdir} is done: see {workdir / 'report.md'}")
        return
    set_up_jax(config)
    catalogue = open_catalogue(config, workdir, encoders)
    rows = scored_rows(config, catalogue)
    records, groups = selected(catalogue.records, rows), catalogue.groups[rows]
    predictions = fitted_baseline(config, catalogue)(records, groups)
    report(config, workdir, catalogue, predictions, {})


def prepare(config, workdir: Path) -> None:
    """Writes the catalogue as shards that are read when they are needed."""
    from hsjax.tasks.preparation import write_prepared

    write_prepared(config, workdir)


def check(config, workdir: Path) -> None:
    """Reads the catalogue, says what a run would meet, trains nothing."""
    from hsjax.tasks.check import write_check

    config, encoders = resolved(config)
    check_objective(config.objective, tuple(config.model.modalities))
    set_up_jax(config)
    workdir.mkdir(parents=True, exist_ok=True)
    write_check(config, workdir, encoders)


def explore(config, workdir: Path) -> None:
    """A page of tables and plots of the catalogue; nothing is trained."""
    from hsjax.tasks.explore import write_exploration

    write_exploration(config, workdir)


def extract(config, workdir: Path) -> None:
    """Encodes a modality of the catalogue once, into a feature store."""
    from hsjax.tasks.extraction import write_features

    set_up_jax(config)
    write_features(config, workdir)


def harden(config, workdir: Path) -> None:
    """Writes the catalogue without the words that give the leaf away."""
    from hsjax.tasks.harden import write_hard

    write_hard(config, workdir)


def recategorize(config, workdir: Path) -> None:
    """Proposes new sub-categories of a branch; nothing is changed."""
    from hsjax.recategorize.task import propose

    set_up_jax(config)
    propose(config, workdir)


TASKS = {
    "train": train,
    "check": check,
    "explore": explore,
    "baseline": baseline,
    "prepare": prepare,
    "extract": extract,
    "harden": harden,
    "recategorize": recategorize,
}
