"""A published encoder, frozen: texts or pictures in, a vector each out."""

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hsjax.batch import IMAGE
from hsjax.data.store import SOURCE
from hsjax.data.text import load_tokenizer
from hsjax.features.encoding import Encoded, encode_pictures, encode_texts
from hsjax.models.image_families import IMAGE_FAMILIES
from hsjax.models.preprocessing import Preprocessing, read_preprocessing
from hsjax.models.pretrained import (
    Checkpoint,
    CheckpointError,
    find_family,
    load_parameters,
    read_checkpoint,
)
from hsjax.models.resnet import ResNet
from hsjax.models.text import TextEncoder
from hsjax.models.text_families import TEXT_FAMILIES
from hsjax.models.vgg import VGG
from hsjax.models.vit import VisionTransformer

STATES = "none"  # the pool that keeps every token, patch or cell
# what needs no parameters beyond those of the checkpoint
POOLS = {
    TextEncoder: ("cls", "mean", "max", "eot", STATES),
    VisionTransformer: ("cls", "mean", "max", STATES),
    ResNet: ("mean", STATES),
    VGG: ("fc7", "mean"),
}
TOKENIZER = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt")


class FrozenEncoder(NamedTuple):
    """What turns items into vectors.

    Attributes:
      facts: where it comes from and how it is used: but for the place, equal facts are
        equal vectors.
      encode: items (texts, or encoded pictures as bytes or paths) -> `Encoded`, batch
        by batch, in an order that suits the encoder.
    """

    facts: dict
    encode: Callable[[Sequence], Iterator[Encoded]]


def load_encoder(
    c, *, modality: str, max_pixels: int, look: Preprocessing | None = None
) -> FrozenEncoder:
    """The encoder of a config's `extract` group `c`.

    Args:
      max_pixels: larger pictures are refused.
      look: how pictures are prepared; None = as the checkpoint and `c.size` say.

    Raises:
      CheckpointError: the checkpoint cannot be used, its tokenizer is another's, or the
        family has no such pool.
      CatalogueError: it has no tokenizer.
    """
    checkpoint = read_checkpoint(c.encoder)
    families = IMAGE_FAMILIES if modality == IMAGE else TEXT_FAMILIES
    family = find_family(checkpoint, families)
    settings, params, stats = load_parameters(family, checkpoint)
    if pool := STATES if c.states else c.pool:
        settings["pool"] = _checked_pool(family, pool)
    module = family.module(**settings, dtype=jnp.dtype(c.dtype))
    variables = {"params": params, **({"stats": stats} if stats else {})}
    apply = functools.partial(
        jax.jit(functools.partial(module.apply, training=False)),
        jax.device_put(variables),
    )
    if modality == IMAGE:
        look = look or _look(checkpoint, c)
        own, first = {"preprocessing": look._asdict()}, (1, *look.size, 3)
        first = jnp.zeros(first), jnp.ones(1)
        options = {"look": look, "rows": c.rows, "max_pixels": max_pixels}
        encode = functools.partial(encode_pictures, apply, **options)
    else:
        length = min(c.length, settings["max_length"])
        own = {"length": length, "tokenizer": _tokenizer_hash(checkpoint.directory)}
        first = jnp.zeros((1, length), jnp.int32), jnp.ones((1, length), bool)
        tokenizer = _tokenizer(checkpoint, settings["vocab_size"])
        options = {"tokenizer": tokenizer, "length": length, "tokens": c.tokens}
        encode = functools.partial(encode_texts, apply, **options)
    facts = {
        SOURCE: _place(c.encoder),
        "weights": fingerprint(checkpoint),
        "family": family.name,
        "pool": settings.get("pool", "mean"),
        "compute": c.dtype,
        **own,
        "shape": jax.eval_shape(apply, *first).shape[1:],
    }
    return FrozenEncoder(json.loads(json.dumps(facts)), encode)


def fingerprint(checkpoint: Checkpoint) -> str:
    """sha256 of the config and of every tensor, by name."""
    digest = hashlib.sha256(json.dumps(checkpoint.config, sort_keys=True).encode())
    for name in sorted(checkpoint.tensors):
        tensor = np.ascontiguousarray(checkpoint.tensors[name])
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        digest.update(tensor.view(np.uint8))
    return digest.hexdigest()


def _place(name: str) -> str:
    """A directory from wherever the next command is run; or a hub name."""
    path = Path(name).expanduser()
    return str(path.resolve()) if path.is_dir() else name


def _checked_pool(family, pool: str) -> str:
    known = POOLS[family.module]
    if pool not in known:
        states = " (extract.states)" if pool == STATES else ""
        raise CheckpointError(
            f"extract.pool is {pool!r}{states}; {family.name} has {', '.join(known)}"
        )
    return pool


def _look(checkpoint: Checkpoint, c) -> Preprocessing:
    look = read_preprocessing(checkpoint.preprocessor)
    if any(c.size):
        look = look._replace(resize=tuple(c.size), size=tuple(c.size))
    return look


def _tokenizer(checkpoint: Checkpoint, vocab_size: int):
    tokenizer = load_tokenizer(str(checkpoint.directory))
    if tokenizer.get_vocab_size() > vocab_size:
        raise CheckpointError(
            f"{checkpoint.directory}: the tokenizer has {tokenizer.get_vocab_size()}"
            f" entries, config.json says {vocab_size}: they do not belong together"
        )
    return tokenizer


def _tokenizer_hash(directory: Path) -> str:
    """sha256 of its files: other pieces of a text are other vectors."""
    digest = hashlib.sha256()
    for name in TOKENIZER:
        if (directory / name).is_file():
            digest.update(name.encode() + (directory / name).read_bytes())
    return digest.hexdigest()
