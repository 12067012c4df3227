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
from hsjax.data.tokenizer_folder import load_tokenizer, tokenizer_files
from hsjax.features.encoded_batches import EncodedBatch, encode_pictures, encode_texts
from hsjax.models.families import Family
from hsjax.models.one_tower import tower_family, tower_of
from hsjax.models.preprocessing import Preprocessing, read_preprocessing
from hsjax.models.published_files import (
    PublishedError,
    PublishedModel,
    read_published,
)
from hsjax.models.published_towers import POOLS, tower_settings
from hsjax.models.published_weights import load_parameters
from hsjax.models.scratch_towers import STATES


class FrozenEncoder(NamedTuple):
    """What turns items into vectors.

    Attributes:
      facts: where it comes from and how it is used: but for the place, equal facts are
        equal vectors.
      encode: items (texts, or pictures, encoded or decoded) -> `EncodedBatch`, batch by
        batch, in an order that suits the encoder.
    """

    facts: dict
    encode: Callable[[Iterable], Iterator[EncodedBatch]]


def text_encoder(c) -> FrozenEncoder:
    """Of texts, as a config's `extract` group `c` says.

    Of a pair that hsjax saved it is the text tower, without the projection.

    Raises:
      PublishedError: the model cannot be used, its tokenizer is another's, or the
        family has no such pool.
      CatalogueError: it has no tokenizer.
    """
    loaded = _load(c, "text")
    tokenizer = _tokenizer(loaded.published, loaded.settings["vocab_size"])
    length = min(c.length, loaded.settings["max_length"])
    directory = loaded.published.directory
    own = {"length": length, "tokenizer": _tokenizer_hash(directory)}
    own |= {"prefix": c.prefix} if c.prefix else {}
    apply = functools.partial(jax.jit(loaded.apply), jax.device_put(loaded.variables))
    encode = functools.partial(
        encode_texts,
        apply,
        tokenizer=tokenizer,
        length=length,
        tokens=batch_tokens(c),
        prefix=c.prefix,
    )
    first = jnp.zeros((1, length), jnp.int32), jnp.ones((1, length), bool)
    shape = jax.eval_shape(apply, *first).shape[1:]
    return FrozenEncoder(_facts(c, loaded, shape, own), encode)


def batch_tokens(c) -> int:
    """Of a batch of texts: what a CPU's caches hold, or what fills an accelerator."""
    return c.tokens or (1024 if jax.default_backend() == "cpu" else 4096)


def picture_encoder(
    c, *, max_pixels: int, look: Preprocessing | None = None
) -> FrozenEncoder:
    """Of pictures, as a config's `extract` group `c` says.

    They go to the device as uint8; mean and std are the first line there.

    Args:
      max_pixels: larger pictures are refused.
      look: how pictures are prepared; None = as the model and `c.size` say.

    Raises:
      PublishedError: the model cannot be used, or the family has no such pool.
    """
    loaded = _load(c, IMAGE)
    look = look or _look(loaded.published, c)
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
    """A published model as a function of its variables."""

    published: PublishedModel
    family: Family
    settings: dict
    variables: dict
    apply: Callable


def _load(c, tower: str) -> _Loaded:
    published = tower_of(read_published(c.encoder), tower)
    asked = f"extract.modality is {c.modality}"
    family = tower_family(published, tower, asked=asked)
    settings, params, stats = load_parameters(family, published)
    settings |= tower_settings(tower, published.config)  # as a pair says it pools
    pool = STATES if c.states else c.pool or settings["pool"]
    settings["pool"] = _checked_pool(family, pool)
    module = family.module(**settings, dtype=jnp.dtype(c.dtype))
    variables = {"params": params, **({"stats": stats} if stats else {})}
    apply = functools.partial(module.apply, training=False)
    return _Loaded(published, family, settings, variables, apply)


def _facts(c, loaded: _Loaded, shape: tuple[int, ...], own: Mapping) -> dict:
    """As JSON gives them back, so that they can be compared with those of a store."""
    facts = {
        SOURCE: _place(c.encoder),
        "weights": fingerprint(loaded.published),
        "family": loaded.family.name,
        "pool": loaded.settings["pool"],
        "compute": c.dtype,
        **own,
        "shape": shape,
    }
    return json.loads(json.dumps(facts))


def fingerprint(published: PublishedModel) -> str:
    """sha256 of the config and of every tensor, by name."""
    digest = hashlib.sha256(json.dumps(published.config, sort_keys=True).encode())
    for name in sorted(published.tensors):
        tensor = np.ascontiguousarray(published.tensors[name])
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        digest.update(tensor.view(np.uint8))
    return digest.hexdigest()


def _place(name: str) -> str:
    """A directory from wherever the next command is run; or a hub name."""
    path = Path(name).expanduser()
    return str(path.resolve()) if path.is_dir() else name


def _checked_pool(family: Family, pool: str) -> str:
    """What needs no parameters beyond those that are published."""
    known = [*(name for name in POOLS[family.module] if name != "map"), STATES]
    if pool not in known:
        raise PublishedError(
            f"extract.pool is {pool!r}; {family.name} has {', '.join(known)}"
        )
    return pool


def _look(published: PublishedModel, c) -> Preprocessing:
    look = read_preprocessing(published.preprocessor)
    if any(c.size):
        look = look._replace(resize=tuple(c.size), size=tuple(c.size))
    return look


def _tokenizer(published: PublishedModel, vocab_size: int):
    tokenizer = load_tokenizer(str(published.directory))
    if tokenizer.get_vocab_size() > vocab_size:
        raise PublishedError(
            f"{published.directory}: the tokenizer has {tokenizer.get_vocab_size()}"
            f" entries, config.json says {vocab_size}: they do not belong together"
        )
    return tokenizer


def _tokenizer_hash(directory: Path) -> str:
    """sha256 of its files: other pieces of a text are other vectors."""
    digest = hashlib.sha256()
    for path in tokenizer_files(directory):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
