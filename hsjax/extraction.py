"""What `--config.task=extract` does: a catalogue, an encoder, a feature store."""

import logging
import time
from pathlib import Path

from hsjax.batch import IMAGE
from hsjax.data.features import content_keys
from hsjax.data.prepare import read_parts
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.records import Record, load_records
from hsjax.features.encoder import load_encoder
from hsjax.features.extract import extract
from hsjax.features.reduce import reduce_store
from hsjax.train.workdir import write_config

log = logging.getLogger("hsjax")

REDUCED = "pca"  # folder of the reduced store, beside the parts of the whole one


def write_features(config, workdir: Path) -> None:
    """Every item of `extract.modality` once, into `workdir`; goes on where it stopped.

    With `extract.pca`, also WORKDIR/pca: principal components, fitted on the training
    part of the config's split.

    Raises:
      CatalogueError, CheckpointError: whatever a user can mend, in words.
    """
    c, start = config.extract, time.perf_counter()
    config = config.copy_and_resolve_references().unlock()
    config.data.image.cache = False  # the encoder decodes at its own size
    known = [*config.data.text.streams, IMAGE]
    if c.modality not in known:
        raise CatalogueError(f"extract.modality is {c.modality!r}; there are {known}")
    if not c.encoder:
        raise CatalogueError("extract.encoder is empty: name a directory or a hub name")
    if c.pca and not 0 < c.pca < 1:
        raise CatalogueError(f"extract.pca is {c.pca}: a share of variance, 0 to 1")
    encoder = load_encoder(
        c, modality=c.modality, max_pixels=config.data.image.max_pixels
    )
    if c.modality != IMAGE:
        config.data.columns.image = ""
    quarantine = Quarantine()
    records = _records(config, quarantine)
    store = extract(config, records, encoder, workdir)
    write_config(config, workdir)
    quarantine.write(workdir / "quarantine.csv")
    seconds = time.perf_counter() - start
    shapes = [f"{workdir}: {len(store):,} x {store.shape} in {seconds:.0f} s"]
    if c.pca:
        training = _training_keys(config)
        small = reduce_store(store, workdir / REDUCED, training, share=c.pca)
        shapes.append(f"{workdir / REDUCED}: {len(small):,} x {small.shape}")
    print("\n".join(shapes))


def _records(config, quarantine: Quarantine) -> list[Record]:
    """All rows, labelled or not: their features may be wanted later."""
    return load_records(config.data, quarantine=quarantine, labelled=False)


def _training_keys(config) -> list[str]:
    records, _, parts = read_parts(config, Quarantine())
    keys = content_keys(config, records, config.extract.modality)
    return [k for k, part in zip(keys, parts.tolist(), strict=True) if part == "train"]
