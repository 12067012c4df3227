"""A trained pair of published encoders -> a directory in Hugging Face's layout."""

import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from hsjax.batch import IMAGE
from hsjax.data.features import stores_of
from hsjax.data.store import SOURCE, store_facts
from hsjax.data.text import load_tokenizer
from hsjax.features.encoder import STATES, fingerprint
from hsjax.features.reduce import load_reduction
from hsjax.inference.predict import Run, load_run
from hsjax.models.dual import (
    KIND,
    Tower,
    differences,
    families_of,
    tower_of,
    write_pair,
)
from hsjax.models.names import CheckpointError
from hsjax.models.preprocessing import Preprocessing
from hsjax.models.pretrained import load_parameters, read_checkpoint
from hsjax.models.published import tower_settings
from hsjax.train.workdir import kept_published, read_config

PADDING = ("[PAD]", "<pad>", "<|endoftext|>")
# what a tokenizer is told of its special tokens
SPECIAL = {
    "unk_token": ("[UNK]", "<unk>"),
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "mask_token": ("[MASK]", "<mask>"),
}


def export_pair(workdir: Path, output: Path) -> list[str]:
    """Writes the text and the image tower of a run with their projections.

    Towers that were trained or kept in the run are its own; of cached features the
    encoder is read from where the store says. A run without either has no published
    encoders to give.

    Returns:
      What transformers would do otherwise with the pair, a sentence each.

    Raises:
      CheckpointError: a tower from scratch, a run of one modality, an encoder that is
        no longer what the features came from.
      CatalogueError, WorkdirError: there is no such run, no such store.
    """
    if _config_of(output).get("model_type", KIND) != KIND or _is_run(output):
        raise CheckpointError(f"{output} holds something else; take another --output")
    texts = _check_pair(workdir)
    run = load_run(workdir)
    found = {"text": _side(run, workdir, texts[0]), IMAGE: _side(run, workdir, IMAGE)}
    towers = {name: side[0] for name, side in found.items()}
    tokenizer, length = found["text"][1]
    write_pair(output, towers, scale=_scale(run), look=found[IMAGE][1])
    _write_tokenizer(output, tokenizer, length)
    told = differences(towers)
    if texts[1:]:
        told.append(f"of the text streams {', '.join(texts)} it holds the first")
    return told


def _check_pair(workdir: Path) -> list[str]:
    """The text streams of a run whose towers are published, before it is loaded.

    Raises:
      CheckpointError: see `export_pair`.
    """
    config, configs = read_config(workdir), kept_published(workdir)
    modalities = tuple(config.model.modalities)
    texts = [m for m in modalities if m != IMAGE]
    if not texts or IMAGE not in modalities:
        raise CheckpointError(
            f"{workdir} has no pair: it was trained on {', '.join(modalities)} alone"
        )
    for modality in (texts[0], IMAGE):
        side = IMAGE if modality == IMAGE else "text"
        own = side == "text" and modality in config.model.text  # a tower of its own
        if modality not in stores_of(config) and (own or side not in configs):
            raise CheckpointError(
                f"{workdir}: its {modality} tower was trained from scratch, and the"
                f" layout is one of published encoders: set model.{side}.published, or"
                f" data.features.{modality}, and train again"
            )
    return texts


def _config_of(folder: Path) -> dict:
    path = folder / "config.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def _is_run(folder: Path) -> bool:
    return (folder / "taxonomy.json").exists()


def _scale(run: Run) -> float:
    """1 / temperature, as `ProductClassifier` has it."""
    c = run.config.objective
    if "temperature" not in run.params:
        return 1 / c.temperature
    return min(float(np.exp(run.params["temperature"])), c.max_scale)


def _side(run: Run, workdir: Path, modality: str):
    """(tower, how it reads): (tokenizer, tokens), or `Preprocessing` of pictures."""
    side = IMAGE if modality == IMAGE else "text"
    if folder := stores_of(run.config).get(modality):
        return _of_features(run, Path(folder), side, modality)
    config = kept_published(workdir)[side]
    settings = tower_settings(side, config, pool=run.config.model.text.pool)
    pool = settings.get("pool", "mean")
    kernel, bias = _projection(run, side)
    stats = run.stats.get(side, {})
    tower = Tower(config, run.params[side], stats, pool, kernel, bias)
    if modality != IMAGE:
        return tower, (run.tokenizer, dict(run.spec.lengths)[modality])
    c, data = run.config.model.image, run.config.data.image
    sizes = tuple(data.resize), tuple(data.size)
    return tower, Preprocessing(tuple(c.mean), tuple(c.std), *sizes, "bicubic")


def _projection(run: Run, name: str):
    """(kernel (D, E), bias (E,) or None)."""
    found = run.params[f"{name}_joint"]["projection"]
    bias = found.get("bias")
    return np.asarray(found["kernel"]), None if bias is None else np.asarray(bias)


def _of_features(run: Run, folder: Path, side: str, modality: str):
    """See `_side`; the encoder that made a store, with the run's projection.

    Principal components, (x - mean) @ C, are multiplied into the projection.
    """
    facts = store_facts(folder)
    if not facts.get(SOURCE):
        raise CheckpointError(f"{folder} does not say where its encoder is")
    checkpoint = tower_of(read_checkpoint(facts[SOURCE]), side)
    if fingerprint(checkpoint) != facts["weights"]:
        raise CheckpointError(
            f"{facts[SOURCE]} is no longer the encoder that {folder} was made with"
        )
    family = families_of(side)[facts["family"]]
    settings, params, stats = load_parameters(family, checkpoint)
    kernel, bias = _projection(run, modality)
    if reduction := load_reduction(folder):
        kernel = reduction.components @ kernel
        moved = -reduction.mean @ kernel
        bias = moved if bias is None else bias + moved
    pool = facts.get("pool") or settings.get("pool", "mean")
    if pool == STATES:  # states before any last linear map, averaged in the model
        pool = "mean"
        params = {k: v for k, v in params.items() if k != "projection"}
    tower = Tower(checkpoint.config, params, stats, pool, kernel, bias)
    if modality != IMAGE:
        return tower, (load_tokenizer(str(checkpoint.directory)), facts["length"])
    look = facts["preprocessing"].items()
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in look}
    return tower, Preprocessing(**values)


def _write_tokenizer(output: Path, tokenizer: Tokenizer, length: int) -> None:
    """tokenizer.json, and what transformers has to know beside it."""
    tokenizer = Tokenizer.from_str(tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(output / "tokenizer.json"))
    known = tokenizer.get_vocab()
    names = {"pad_token": PADDING} | SPECIAL
    special = {
        kind: next((t for t in tokens if t in known), None)
        for kind, tokens in names.items()
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": length,
        "model_input_names": ["input_ids", "attention_mask"],
        **{kind: token for kind, token in special.items() if token},
    }
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (output / "tokenizer_config.json").write_text(text, "utf-8")
