"""What `--config.task=extract` does: a catalogue, an encoder, a feature store."""

import time
from collections.abc import Container
from pathlib import Path

from hsjax.batch import IMAGE
from hsjax.data.features import content_keys
from hsjax.data.prepare import read_parts
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.records import Record, load_records
from hsjax.data.store import FeatureStore
from hsjax.features.encoder import FrozenEncoder, load_encoder
from hsjax.features.extract import extract
from hsjax.features.reduce import reduce_store
from hsjax.train.workdir import write_config

REDUCED = "pca"  # folder of the reduced store, beside the parts of the whole one
COMPUTED, STORED = ("float32", "bfloat16"), ("float16", "float32")


def write_features(config, workdir: Path) -> None:
    """Every item of `extract.modality` once, into `workdir`; goes on where it stopped.

    With `extract.pca`, also WORKDIR/pca: principal components, fitted on the training
    part of the config's split.

    Raises:
      CatalogueError, CheckpointError: whatever a user can mend, in words.
    """
    c, start = config.extract, time.perf_counter()
    quarantine = Quarantine()
    encoder, records = open_extraction(
        config, quarantine=quarantine, stored=_stored(workdir)
    )
    store = extract(config, records, encoder, workdir)
    write_config(config, workdir)
    quarantine.write(workdir / "quarantine.csv")
    seconds = time.perf_counter() - start
    shapes = [f"{workdir}: {len(store):,} x {store.shape} in {seconds:.0f} s"]
    if c.pca:
        training = _training_keys(config, workdir)
        small = reduce_store(store, workdir / REDUCED, training, share=c.pca)
        shapes.append(f"{workdir / REDUCED}: {len(small):,} x {small.shape}")
    print("\n".join(shapes))


def open_extraction(
    config, *, quarantine: Quarantine, stored: Container[str]
) -> tuple[FrozenEncoder, list[Record]]:
    """The encoder of `config.extract`, and the catalogue, pictures still encoded.

    Args:
      stored: content keys of pictures that need not be looked at again.

    Raises:
      CatalogueError, CheckpointError: whatever a user can mend, in words.
    """
    c, limit = config.extract, config.data.image.max_pixels
    _check(c, [*config.data.text.streams, IMAGE])
    encoder = load_encoder(c, modality=c.modality, max_pixels=limit)
    data = config.data.copy_and_resolve_references().unlock()
    if c.modality != IMAGE:
        data.columns.image = ""
    # labelled or not: their features may be wanted later
    records = load_records(data, quarantine=quarantine, labelled=False, stored=stored)
    return encoder, records


def _check(c, modalities: list[str]) -> None:
    """CatalogueError where the `extract` group asks for what there is not."""
    if c.modality not in modalities:
        raise CatalogueError(
            f"extract.modality is {c.modality!r}; there are {modalities}"
        )
    if not c.encoder:
        raise CatalogueError("extract.encoder is empty: name a directory or a hub name")
    if c.pca and not 0 < c.pca < 1:
        raise CatalogueError(f"extract.pca is {c.pca}: a share of variance, 0 to 1")
    if c.pca and c.states:
        raise CatalogueError("extract.pca reduces one vector an item, not its states")
    for key, known in {"dtype": COMPUTED, "stored": STORED}.items():
        if c[key] not in known:
            raise CatalogueError(f"extract.{key} is {c[key]!r}; there are {known}")
    if (low := min(c.length, c.tokens, c.rows)) < 1:
        raise CatalogueError(f"extract.length, tokens and rows are above 0, not {low}")


def _stored(workdir: Path) -> Container[str]:
    """Keys of pictures that need not be looked at again."""
    return FeatureStore(workdir) if (workdir / "store.json").exists() else ()


def _training_keys(config, workdir: Path) -> list[str]:
    """Of the training part that a run on this config has."""
    modality = config.extract.modality
    config = config.copy_and_resolve_references().unlock()
    config.data.image.cache = False
    # pictures count for groups, and so for the split, also where a text is encoded
    config.data.features = {IMAGE: str(workdir)} if modality == IMAGE else {}
    records, _, parts = read_parts(config, Quarantine())
    keys = content_keys(config, records, modality)
    return [k for k, part in zip(keys, parts.tolist(), strict=True) if part == "train"]
