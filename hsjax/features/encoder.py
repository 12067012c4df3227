"""A published encoder, frozen: texts or pictures in, a vector each out."""

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hsjax.batch import IMAGE
from hsjax.data.store import SOURCE
from hsjax.data.text import load_tokenizer
from hsjax.features.encoding import Encoded, encode_pictures, encode_texts
from hsjax.models.dual import families_of, tower_of
from hsjax.models.names import Family
from hsjax.models.preprocessing import Preprocessing, read_preprocessing
from hsjax.models.pretrained import (
    Checkpoint,
    CheckpointError,
    find_family,
    load_parameters,
    read_checkpoint,
)
from hsjax.models.published import POOLS, tower_settings
from hsjax.models.vgg import VGG

STATES = "none"  # the pool that keeps every token, patch or cell
TOKENIZER = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt")


class FrozenEncoder(NamedTuple):
    """What turns items into vectors.

    Attributes:
      facts: where it comes from and how it is used: but for the place, equal facts are
        equal vectors.
      encode: items (texts, or pictures, encoded or decoded) -> `Encoded`, batch by
        batch, in an order that suits the encoder.
    """

    facts: dict
    encode: Callable[[Iterable], Iterator[Encoded]]


def text_encoder(c) -> FrozenEncoder:
    """Of texts, as a config's `extract` group `c` says.

    Of a pair that hsjax saved it is the text tower, without the projection.

    Raises:
      CheckpointError: the checkpoint cannot be used, its tokenizer is another's, or the
        family has no such pool.
      CatalogueError: it has no tokenizer.
    """
    loaded = _load(c, "text")
    length = min(c.length, loaded.settings["max_length"])
    directory = loaded.checkpoint.directory
    own = {"length": length, "tokenizer": _tokenizer_hash(directory)}
    own |= {"prefix": c.prefix} if c.prefix else {}
    apply = functools.partial(jax.jit(loaded.apply), jax.device_put(loaded.variables))
    encode = functools.partial(
        encode_texts,
        apply,
        tokenizer=_tokenizer(loaded.checkpoint, loaded.settings["vocab_size"]),
        length=length,
        tokens=c.tokens,
        prefix=c.prefix,
    )
    first = jnp.zeros((1, length), jnp.int32), jnp.ones((1, length), bool)
    shape = jax.eval_shape(apply, *first).shape[1:]
    return FrozenEncoder(_facts(c, loaded, shape, own), encode)


def picture_encoder(
    c, *, max_pixels: int, look: Preprocessing | None = None
) -> FrozenEncoder:
    """Of pictures, as a config's `extract` group `c` says.

    They go to the device as uint8; mean and std are the first line there.

    Args:
      max_pixels: larger pictures are refused.
      look: how pictures are prepared; None = as the checkpoint and `c.size` say.

    Raises:
      CheckpointError: the checkpoint cannot be used, or the family has no such pool.
    """
    loaded = _load(c, IMAGE)
    look = look or _look(loaded.checkpoint, c)
    mean = np.array(look.mean, np.float32).reshape(1, 1, 1, 3)
    std = np.array(look.std, np.float32).reshape(1, 1, 1, 3)

    @jax.jit
    def seen(variables, pixels, weight):
        pixels = (pixels.astype(jnp.float32) / 255.0 - mean) / std
        return loaded.apply(variables, pixels, weight)

    apply = functools.partial(seen, jax.device_put(loaded.variables))
    encode = functools.partial(
        encode_pictures, apply, look=look, rows=c.rows, max_pixels=max_pixels
    )
    first = jnp.zeros((1, *look.size, 3), jnp.uint8), jnp.ones(1)
    shape = jax.eval_shape(apply, *first).shape[1:]
    own = {"preprocessing": look._asdict()}
    return FrozenEncoder(_facts(c, loaded, shape, own), encode)


class _Loaded(NamedTuple):
    """A checkpoint as a function of its variables."""

    checkpoint: Checkpoint
    family: Family
    settings: dict
    variables: dict
    apply: Callable


def _load(c, tower: str) -> _Loaded:
    checkpoint = tower_of(read_checkpoint(c.encoder), tower)
    family = find_family(checkpoint, families_of(tower))
    settings, params, stats = load_parameters(family, checkpoint)
    settings |= tower_settings(tower, checkpoint.config)  # as a pair says it pools
    pool = STATES if c.states else c.pool or settings["pool"]
    settings["pool"] = _checked_pool(family, pool)
    module = family.module(**settings, dtype=jnp.dtype(c.dtype))
    variables = {"params": params, **({"stats": stats} if stats else {})}
    apply = functools.partial(module.apply, training=False)
    return _Loaded(checkpoint, family, settings, variables, apply)


def _facts(c, loaded: _Loaded, shape: tuple[int, ...], own: Mapping) -> dict:
    """As JSON gives them back, so that they can be compared with those of a store."""
    facts = {
        SOURCE: _place(c.encoder),
        "weights": fingerprint(loaded.checkpoint),
        "family": loaded.family.name,
        "pool": loaded.settings["pool"],
        "compute": c.dtype,
        **own,
        "shape": shape,
    }
    return json.loads(json.dumps(facts))


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


def _checked_pool(family: Family, pool: str) -> str:
    """What needs no parameters beyond those of the checkpoint."""
    known = [name for name in POOLS[family.module] if name != "map"]
    known += [] if family.module is VGG else [STATES]
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
