"""Tiny random encoders, and extractions with them from the synthetic shop."""

import json

import numpy as np
from layouts import read_golden, write_layout
from runs import run_config
from test_parity_image import write_golden

from hsjax.data.quarantine import Quarantine
from hsjax.data.records import load_records
from hsjax.data.text import train_tokenizer

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
    folder.mkdir(parents=True, exist_ok=True)
    write_golden(golden, folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(LOOK | look))
    return folder
