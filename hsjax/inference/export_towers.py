"""Which encoders of a run can be laid out as published ones."""

from pathlib import Path

from hsjax.batch import IMAGE
from hsjax.data.features import stores_of
from hsjax.models.published_files import PublishedError
from hsjax.train.config import read_config
from hsjax.train.kept import kept_published


def tower_alone(workdir: Path, modality: str) -> str:
    """The modality, if the run has a tower of it."""
    config = read_config(workdir)
    trained = [m for m in config.model.modalities if m not in stores_of(config)]
    if modality not in trained:
        raise PublishedError(
            f"--tower={modality}: {workdir} has no encoder of that name, it has trained"
            f" {', '.join(trained) or 'none'}"
        )
    _check_pool(workdir, config, modality)
    return modality


def _check_pool(workdir: Path, config, modality: str) -> None:
    """PublishedError where an encoder of the run cannot be laid out alone."""
    if tower_group(config, modality).pool == "map":
        raise PublishedError(
            f"{workdir}: its {modality} tower has attention pooling, whose parameters"
            " no layout holds"
        )


def towers_of_run(workdir: Path) -> list[str]:
    """The modalities to export: a text stream and the image, or one of both.

    Raises:
      PublishedError: see `export_run`.
    """
    config, published = read_config(workdir), kept_published(workdir)
    modalities, stores = list(config.model.modalities), stores_of(config)
    texts = [m for m in modalities if m != IMAGE]
    found = texts[:1] + [IMAGE] * (IMAGE in modalities)
    # a stream may have a tower of its own, which is always from scratch
    own = [m for m in found if side_of(m) in published and m not in config.model.text]
    for modality in own:
        _check_pool(workdir, config, modality)
    scratch = [m for m in found if m not in stores and m not in own]
    if len(found) == 2 and not scratch:
        return found
    trained = [m for m in own if m not in stores]
    if len(trained) == 1:
        return trained
    if scratch and len(found) == 1:
        _check_pool(workdir, config, scratch[0])
        return scratch
    if scratch:
        modality, side = scratch[0], side_of(scratch[0])
        raise PublishedError(
            f"{workdir}: its {modality} tower was trained from scratch, and the layout"
            f" of a pair is one of published encoders: --tower={modality} exports it"
            f" alone; for a pair set model.{side}.published, or"
            f" data.features.{modality}, and train again"
        )
    raise PublishedError(
        f"{workdir} has no pair: it was trained on {', '.join(modalities)} alone, and"
        " on features, whose encoder is as it was"
    )


def tower_group(config, modality: str):
    """The settings of a modality's tower: a stream may have its own."""
    text = config.model.text
    own = modality in text and modality != IMAGE
    return text[modality] if own else config.model[side_of(modality)]


def side_of(modality: str) -> str:
    """`text` of every text stream, or `image`."""
    return IMAGE if modality == IMAGE else "text"
