"""Tiny random encoders, and configs of runs and extractions with them."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
from goldens import read_golden, write_golden, write_layout
from runs import run_config

from hsjax.data.quarantine import Quarantine
from hsjax.data.records import load_records
from hsjax.data.tokenizer_training import train_tokenizer
from hsjax.models.image_families import IMAGE_FAMILIES
from hsjax.models.published_files import read_published
from hsjax.models.published_weights import find_family, load_parameters
from hsjax.models.text_families import TEXT_FAMILIES

COLUMNS = {
    "data.columns.id": "id",
    "data.columns.image": "image",
    "data.columns.label": ("hs_code",),
}
VOCABULARY = 400
LENGTH = 12  # tokens of a text
LOOK = {
    "do_resize": True,
    "size": {"height": 24, "width": 24},
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}

FROZEN = (r"(text|image)/.*", 0.0, False)
# contrastive alone, exported without a difference
ALIGN = {
    "objective.classification": 0.0,
    "objective.contrastive": 1.0,
    "train.monitor": "loss",
    "model.joint_bias": False,
}

END_TO_END = {"train.steps": 2, "train.eval_every": 2, "model.text.pool": "cls"}


def path_of(shop):
    return {**COLUMNS, "data.path": str(shop)}


def records(config):
    return load_records(config.data, quarantine=Quarantine(), labelled=False)


def extraction(shop, encoder, modality, **changes):
    """The config of an extraction; `changes` are keys of its group `extract`."""
    options = {"extract.encoder": str(encoder), "extract.modality": modality}
    dotted = {f"extract.{key}": value for key, value in changes.items()}
    fixed = {"task": "extract", "extract.length": LENGTH}
    return run_config({**path_of(shop), **options, **dotted, **fixed})


def write_bert(folder, shop):
    """A BERT whose tokenizer knows the shop's words."""
    titles = [r.texts["title"] for r in records(run_config(path_of(shop)))]
    return write_texts(folder, titles)


def write_texts(folder, texts, golden="bert", kind="wordpiece"):
    """A text encoder whose tokenizer knows these texts."""
    golden, rng = read_golden(golden), np.random.default_rng(0)
    names = [n for n in golden.tensors if n.endswith("word_embeddings.weight")]
    table = rng.normal(size=(VOCABULARY, golden.tensors[names[0]].shape[1]))
    tensors = golden.tensors | {names[0]: table.astype(np.float32)}
    write_layout(folder, golden.config | {"vocab_size": VOCABULARY}, tensors)
    train_tokenizer(texts, kind=kind, size=VOCABULARY, lowercase=True).save(
        str(folder / "tokenizer.json")
    )
    return folder


def write_images(folder, golden="resnet_basic", **look):
    """An image encoder of 24 x 24 pixels; `look` goes to preprocessor_config.json."""
    write_golden(golden, folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(LOOK | look))
    return folder


def published(shop, bert, resnet, **changes):
    # a constant rate, so that runs of any length share one compiled step
    steps = {"train.steps": 6, "train.eval_every": 3, "optim.schedule": "constant"}
    config = run_config({**path_of(shop), **steps}).unlock()
    config.model.text.published, config.model.image.published = str(bert), str(resnet)
    config.data.image.size = config.data.image.resize = (0, 0)
    config.data.text.length = 12
    config.update_from_flattened_dict(changes)
    return config.lock()


def frozen(shop, bert, resnet, **changes):
    """As `published`, projections and head alone are trained."""
    rules = {"optim.rules": (FROZEN, *run_config().optim.rules)}
    return published(shop, bert, resnet, **rules, **changes)


def said(folder, *inputs):
    """What an encoder makes of its inputs, in evaluation mode and float32."""
    model = read_published(folder)
    families = TEXT_FAMILIES | IMAGE_FAMILIES
    family = find_family(model, families)
    settings, params, stats = load_parameters(family, model)
    module = family.module(**settings, dtype=jnp.dtype("float32"))
    apply = jax.jit(functools.partial(module.apply, training=False))
    return apply({"params": params, "stats": stats}, *map(jnp.asarray, inputs))
