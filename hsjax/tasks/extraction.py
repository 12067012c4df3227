"""What `--config.task=extract` does: a catalogue, an encoder, a feature store."""

import functools
import time
from collections.abc import Callable
from pathlib import Path

import jax
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from hsjax.batch import IMAGE
from hsjax.data.columns import label_separator
from hsjax.data.features import content_keys
from hsjax.data.held_out import hold_out, read_hold_out
from hsjax.data.nomenclature import load_taxonomy
from hsjax.data.prepare import make_tree, read_parts
from hsjax.data.quarantine import CatalogueError, Quarantine, written_if_refused
from hsjax.data.records import Record
from hsjax.data.sources import SYNTHETIC
from hsjax.data.store import FeatureStore
from hsjax.data.stream import stream_records
from hsjax.features.fill import fill_store
from hsjax.features.frozen_encoder import FrozenEncoder, picture_encoder, text_encoder
from hsjax.features.labels import LABELS, label_texts
from hsjax.features.reduce import check_training, reduce_store
from hsjax.inference.label_texts import text_records
from hsjax.models.preprocessing import from_facts
from hsjax.settings.choices import check_extract
from hsjax.train.workdir import holds_results, write_config

REDUCED = "pca"  # folder of the reduced store, beside the parts of the whole one


def write_features(config, workdir: Path) -> None:
    """Every item of `extract.modality` once, into `workdir`; goes on where it stopped.

    Of `labels` the items are the texts of the tree's nodes: see `label_texts`.
    With `extract.pca`, also WORKDIR/pca: principal components, fitted on the training
    part of the config's split. Processes share the items; the first of them writes what
    is written once. Each notes the flaws that it met: quarantine.csv of the first,
    quarantine.1.csv of the second and so on.

    Raises:
      CatalogueError, ConfigError, PublishedError: whatever a user can mend, in words.
    """
    c, start, first = config.extract, time.perf_counter(), jax.process_index() == 0
    _refuse_run(workdir)
    encoder, quarantine = open_encoder(config), Quarantine()
    if c.pca:
        check_training(_training_keys(config, None))  # before hours of encoding
    number = "" if first else f".{jax.process_index()}"
    flaws = workdir / f"quarantine{number}.csv"
    with written_if_refused(quarantine, flaws):
        if c.modality == LABELS:
            labels = _labels(config, quarantine)
            fill_store(_with_labels(config), lambda stored: labels, encoder, workdir)
        else:
            read = _reader(config, encoder, quarantine)
            fill_store(config, lambda stored: read(stored=stored), encoder, workdir)
    quarantine.write(flaws)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("every process has encoded its share")
    if not first:
        return
    write_config(config, workdir)
    store, seconds = FeatureStore(workdir), time.perf_counter() - start
    told = [f"{workdir}: {len(store):,} x {store.shape} in {seconds:.0f} s"]
    if c.pca:
        training = _training_keys(config, workdir)
        small = reduce_store(store, workdir / REDUCED, training, share=c.pca)
        told.append(f"{workdir / REDUCED}: {len(small):,} x {small.shape}")
    print("\n".join(told))


def open_encoder(config) -> FrozenEncoder:
    """The encoder of `config.extract`, once its words are looked at.

    Raises:
      CatalogueError, ConfigError, PublishedError: whatever a user can mend, in words.
    """
    check_extract(config)
    if config.extract.modality == IMAGE:
        limit = config.data.image.max_pixels
        return picture_encoder(config.extract, max_pixels=limit)
    return text_encoder(config.extract)


def _refuse_run(workdir: Path) -> None:
    """CatalogueError where features would lie among the files of a run."""
    if (workdir / "taxonomy.json").exists() or holds_results(workdir):
        raise CatalogueError(
            f"{workdir} is the workdir of a run; take a new --workdir for features"
        )


def _labels(config, quarantine: Quarantine) -> list[Record]:
    """Each text of the config's tree once, as if it were a product's.

    Without a file of the tree, all labelled rows make it: whatever the split, the tree
    of its training rows lies within.
    """
    if config.taxonomy.path:
        separator = label_separator(config)
        tree = load_taxonomy(config.taxonomy, separator=separator)
    else:
        config = _unread(config)
        config.taxonomy.min_products = 1
        records, _, _ = read_parts(config, quarantine)
        tree, _ = make_tree(config, records)
    texts = [text for level in label_texts(tree) for text in level]
    return text_records(list(dict.fromkeys(texts)), LABELS)


def _with_labels(config) -> ConfigDict:
    """The config as if label texts were one of its streams."""
    config = config.copy_and_resolve_references().unlock()
    config.data.text.streams[LABELS] = (LABELS,)
    return config


def _reader(config, encoder: FrozenEncoder, quarantine: Quarantine) -> Callable:
    """`read(stored=...)` of the catalogue: see `fill_store`."""
    return functools.partial(
        stream_records,
        _catalogue(config, encoder),
        quarantine=quarantine,
        resample=encoder.facts.get("preprocessing", {}).get("resample", "bicubic"),
    )


def _catalogue(config, encoder: FrozenEncoder) -> ConfigDict:
    """The data group; pictures are decoded once, as the encoder sees them.

    Labelled or not, and whatever else a row lacks: its features may be wanted later.
    """
    data = config.data.copy_and_resolve_references().unlock()
    data.required = ()
    if config.extract.modality == IMAGE:
        data.image.resize = from_facts(encoder.facts["preprocessing"]).resize
        data.image.cache = data.path != SYNTHETIC  # whose pictures know no filter
    else:
        data.columns.image = ""
    return data


def _training_keys(config, workdir: Path | None) -> list[str]:
    """Of the training part that a run on this config has.

    Args:
      workdir: what is stored there need not be decoded to be known as sound; None =
        before anything is: pictures are only hashed, those broken inside count as
        there.
    """
    modality, used = config.extract.modality, config.model.modalities
    config = _unread(config)
    if workdir is not None:
        config.model.modalities = used
        if modality == IMAGE:
            config.data.features = {IMAGE: str(workdir)}
    # pictures count for groups, and so for the split, also where a text is encoded
    records, groups, parts = read_parts(config, Quarantine())
    asked = read_hold_out(config.data)
    if asked.codes or asked.share < 1 or asked.shots:
        of = zip(records, parts.tolist(), strict=True)
        training = [record for record, part in of if part == "train"]
        held = {"tree": make_tree(config, training)[0], "quarantine": Quarantine()}
        parts, _ = hold_out(asked, records, groups, parts, **held)
    keys = content_keys(config, records, modality)
    return [k for k, part in zip(keys, parts.tolist(), strict=True) if part == "train"]


def _unread(config) -> ConfigDict:
    """A copy by which pictures are only hashed, and no store is opened."""
    config = config.copy_and_resolve_references().unlock()
    config.data.image.cache = False
    config.data.features = {}
    config.model.modalities = ()
    return config
