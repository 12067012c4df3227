"""What a run is built on: its config, encoders and stores, and its catalogue."""

import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import jax

from hsjax.atomic import finished
from hsjax.data.cost_file import keep_costs
from hsjax.data.groups import content_hashes
from hsjax.data.prepare import Catalogue, read_catalogue
from hsjax.data.run_stores import check_stores, described_stores, keep_own
from hsjax.data.run_tokenizer import same_vocabulary
from hsjax.data.splits import PARTS
from hsjax.data.stored_records import selected
from hsjax.features.frozen_encoder import fingerprint
from hsjax.features.labels import keep_labels, kept_labels, label_features
from hsjax.inference.predict import vocabulary
from hsjax.models.build import Model, build_model
from hsjax.models.label_tower import LabelFeatures
from hsjax.models.published_files import PublishedModel
from hsjax.models.published_towers import (
    check_vocabulary,
    kept_form,
    read_towers,
    settle,
    tower_configs,
)
from hsjax.settings.choices import check_choices
from hsjax.sharding import first_match
from hsjax.taxonomy import Taxonomy
from hsjax.train.checkpoint import checkpoint_steps
from hsjax.train.config import config_hash
from hsjax.train.kept import (
    keep_encoders,
    keep_stores,
    keep_taxonomy,
    kept_encoders,
    kept_stores,
    write_train_counts,
    write_train_rows,
)
from hsjax.train.processes import check_alike, check_shared
from hsjax.train.source import check_source
from hsjax.train.start import check_length
from hsjax.train.workdir import (
    ConfigError,
    blamed_on,
    check_rows,
    holds_results,
    open_workdir,
    write_config,
)
from hsjax.trained.reports import node_counts

log = logging.getLogger("hsjax")

Encoders = Mapping[str, PublishedModel]  # by tower, those of published.json


def resolved(config, workdir: Path | None = None):
    """(config, encoders): what a config leaves to its encoders written out.

    Where `workdir` holds results, they are what the run keeps of its encoders, without
    tensors: the originals are not needed again.

    Raises:
      ConfigError, PublishedError: a mistake in the config, or an encoder that does not
        fit.
      CatalogueError: there is no such store, or not the one that the run was trained
        on.
    """
    begun = workdir is not None and holds_results(workdir)
    encoders = read_towers(config, kept_encoders(workdir) if begun else {})
    config = settle(config, encoders)
    check_choices(config)
    if begun:
        how = "name their folder in data.features, or take a new workdir"
        check_stores(described_stores(config), kept_stores(workdir), workdir, how)
    return config, encoders


def open_catalogue(
    config, workdir: Path, encoders: Encoders = MappingProxyType({})
) -> Catalogue:
    """Reads the catalogue and keeps in the workdir what the run is built on.

    Args: config, encoders: of `resolved`.

    Raises:
      WorkdirError: the workdir is of another experiment, other rows or another tree.
      ConfigError: `init_from` reads texts otherwise than the published encoder.
    """
    before = open_workdir(config, workdir)
    kept = before is not None and (workdir / "tokenizer.json").exists()
    source = Path(config.init_from) if config.init_from else None
    own = "text" in encoders and not config.model.text.random  # with its tokenizer
    if kept or checkpoint_steps(workdir):
        source = workdir  # a run that goes on must mean the same by its token ids
    elif source:
        check_source(config)  # before the catalogue is read
        if own or not (source / "tokenizer.json").exists():
            source = None  # the tokenizer is the encoder's, or has to be trained
    catalogue = read_catalogue(
        config,
        source_run=source,
        published=encoders["text"].directory if "text" in encoders else None,
        flaws=workdir / "quarantine.csv",
    )
    check_rows(workdir, catalogue.manifest)
    if before is not None:
        check_length(before, config, len(catalogue.rows("train")))
    elif config.init_from and own:
        _check_source(config, catalogue.tokenizer)
    for code, count in sorted(catalogue.cut.items()):
        log.info("too rare, cut to its parent: %s (%d products)", code, count)
    keep_taxonomy(catalogue.tree, workdir)
    training = selected(catalogue.records, catalogue.rows("train"))
    write_train_counts(node_counts(training), workdir)
    write_train_rows(content_hashes(training), workdir)
    _keep_sources(config, before, catalogue.tree, workdir)
    if before is None and config.task != "baseline":
        _keep_frozen(config, encoders, catalogue, workdir)
    write_config(config, workdir, manifest=catalogue.manifest)
    if jax.process_index() == 0:
        catalogue.quarantine.write(workdir / "quarantine.csv")
        if catalogue.tokenizer:
            with finished(workdir / "tokenizer.json") as partial:
                catalogue.tokenizer.save(str(partial))
    _check_processes(config, catalogue, workdir)
    log.info("%s, %r", {p: len(catalogue.rows(p)) for p in PARTS}, catalogue.tree)
    return catalogue


def _check_processes(config, catalogue: Catalogue, workdir: Path) -> None:
    """ConfigError: several processes read other files than one another."""
    tokenizer = catalogue.tokenizer
    check_alike(
        {
            "config": config_hash(config),
            "catalogue": catalogue.manifest,
            "tree": catalogue.tree.hash,
            "tokenizer": tokenizer.to_str() if tokenizer else "",
        }
    )
    check_shared(workdir / "config.json")


def _keep_sources(config, before, tree: Taxonomy, workdir: Path) -> None:
    """What is read beside the catalogue, to answer without it later.

    Args:
      before: the config that the workdir was made with, None where it is new.
    """
    stores = described_stores(config)
    keep_stores(stores, workdir)
    if jax.process_index() == 0:
        keep_own(stores, workdir)
        known = before.eval.cost_matrix if before is not None else ""
        keep_costs(config, tree, workdir, known=known)


def _keep_frozen(config, encoders: Encoders, catalogue, workdir: Path) -> None:
    """What the model is given and never learns."""
    forms = {
        tower: kept_form(
            found, source=config.model[tower].published, weights=fingerprint(found)
        )
        for tower, found in encoders.items()
    }
    keep_encoders(forms, workdir)
    labels = _labels(config, catalogue)
    if jax.process_index() == 0:
        keep_labels(labels, config.model.head.labels, catalogue.tree, workdir)


def _labels(config, catalogue: Catalogue) -> LabelFeatures | None:
    rows = catalogue.rows("train")
    records = selected(catalogue.records, rows)
    return label_features(config, catalogue.tree, records, catalogue.labels[rows])


def _check_source(config, tokenizer) -> None:
    """ConfigError: rows of a token table would stand for the tokens of another one."""
    own = [m for m in config.model.modalities if m in config.model.text]
    for tower in ("text", *own):
        with blamed_on("init_rules"):
            (action,) = first_match(f"{tower}/token_embedding", config.init_rules)
        if action == "load" and not same_vocabulary(tokenizer, Path(config.init_from)):
            raise ConfigError(
                f"init_from={config.init_from} reads texts by another tokenizer than"
                f" {config.model.text.published}; let init_rules begin with"
                f" ('{tower}/.*', 'fresh'), or leave model.text.published empty"
            )


def model_of(
    config, catalogue: Catalogue, encoders: Encoders, workdir: Path | None = None
) -> Model:
    """The model of a run.

    Args:
      workdir: of the run, whose own label features are read when it goes on; None =
        those of their store.

    Raises:
      PublishedError: the tokenizer is not the one of the published text encoder.
      CatalogueError: no label features, see `label_features` and `kept_labels`.
    """
    tokenizer, tree = catalogue.tokenizer, catalogue.tree
    begun = workdir is not None and holds_results(workdir)
    kept = begun and config.model.head.labels
    check_vocabulary(encoders, tokenizer.get_vocab_size() if tokenizer else 0)
    return build_model(
        config,
        catalogue.spec,
        tree,
        vocab_size=vocabulary(tokenizer),
        published=tower_configs(encoders),
        labels=kept_labels(workdir, tree) if kept else _labels(config, catalogue),
    )
