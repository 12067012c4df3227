"""The published encoder that a run began with, trained on, in its own files again."""

from pathlib import Path

from hsjax.batch import IMAGE
from hsjax.data.features import stores_of
from hsjax.features.frozen_encoder import fingerprint
from hsjax.inference.export_folder import (
    Exported,
    check_output,
    encoder_name,
    write_card,
)
from hsjax.inference.export_towers import side_of, tower_alone, tower_group
from hsjax.inference.predict import load_run
from hsjax.models.one_tower import tower_of
from hsjax.models.published_copy import write_copy
from hsjax.models.published_files import PublishedError, PublishedModel, read_published
from hsjax.models.published_towers import tower_settings
from hsjax.train.config import read_config
from hsjax.train.kept import kept_encoders


def export_published(workdir: Path, output: Path, *, modality: str = "") -> list[str]:
    """Files, names and dtypes as published: an encoder that was kept as it was, to the
    last byte.

    Args:
      modality: of the tower, '' = all that began as one model.

    Returns:
      What a reader of the folder has to know, a sentence each.

    Raises:
      PublishedError: no tower began with a published encoder, two began with different
        ones, it is not at hand or another by now, or `output` holds something else.
    """
    modalities = _began_published(workdir, modality)
    entries = kept_encoders(workdir)
    source = _source(workdir, modalities, entries)
    check_output(output, "")
    run, towers, cards = load_run(workdir, answering=False), {}, []
    for name in modalities:
        side = side_of(name)
        config, pool = entries[side]["config"], tower_group(run.config, name).pool
        settings = tower_settings(side, config, pool=pool)
        towers[side] = settings, run.params[side], run.stats.get(side, {})
        called = encoder_name(entries[side]["source"])
        cards.append(Exported(name, called, config["model_type"], settings["pool"]))
    write_copy(output, source, towers)
    told = [
        f"names, dtypes and files are those of {cards[0].encoder}, and so is what no"
        " encoder reads there: a pooler, a head of its pretraining"
    ]
    write_card(output, workdir.resolve().name, cards, told)
    return told


def _began_published(workdir: Path, modality: str) -> list[str]:
    """The modalities whose towers are to be written, one of each side.

    Raises:
      PublishedError: there are none.
    """
    config, entries = read_config(workdir), kept_encoders(workdir)
    asked = [modality] if modality else [*config.model.modalities]
    sides: dict[str, str] = {}
    for name in asked:
        side, own = side_of(name), name in config.model.text and name != IMAGE
        raw = name not in stores_of(config)
        begun = side in entries and not own and not config.model[side].random
        if raw and begun:
            sides.setdefault(side, tower_alone(workdir, name))
    if not sides:
        raise PublishedError(
            f"{workdir}: {modality or 'no tower of it'} began with the weights of"
            f" {'no' if modality else 'a'} published encoder: leave out --as_published"
        )
    if "text" in sides and config.data.text.tokenizer != "published":
        raise PublishedError(
            f"{workdir} was trained with the tokenizer {config.data.text.tokenizer},"
            " which is not the published encoder's: leave out --as_published"
        )
    return list(sides.values())


def _source(workdir: Path, modalities: list[str], entries) -> PublishedModel:
    """What the towers began with, found again and known to be the same."""
    names = {m: entries[side_of(m)]["source"] for m in modalities}
    if len(set(names.values())) > 1:
        told = ", ".join(f"{m} with {encoder_name(x)}" for m, x in names.items())
        raise PublishedError(
            f"{workdir} began {told}: --tower={modalities[0]} exports one of them"
        )
    source = read_published(next(iter(names.values())))
    for modality in modalities:
        side = side_of(modality)
        if fingerprint(tower_of(source, side)) != entries[side]["weights"]:
            raise PublishedError(
                f"{source.directory} is no longer the encoder that {workdir} began"
                " with: bring that one back, or leave out --as_published"
            )
    return source
