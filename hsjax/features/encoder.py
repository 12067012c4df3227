"""A published encoder, frozen: texts or pictures in, a vector each out."""

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer

from hsjax.batch import IMAGE
from hsjax.data.image import decode_image
from hsjax.data.text import load_tokenizer
from hsjax.models.image_families import IMAGE_FAMILIES
from hsjax.models.preprocessing import Preprocessing, read_preprocessing
from hsjax.models.pretrained import (
    Checkpoint,
    CheckpointError,
    find_family,
    load_parameters,
    read_checkpoint,
)
from hsjax.models.text_families import TEXT_FAMILIES

# tokens of a bucket: a text is padded to the next one, so that little is wasted and
# few shapes are compiled
BUCKETS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
AHEAD = 2  # batches of pictures that are decoded while one is encoded

# positions of some items, and their (B, D) vectors, which may still be computed
Encoded = Iterator[tuple[np.ndarray, jax.Array]]


class FrozenEncoder(NamedTuple):
    """What turns items into vectors.

    Attributes:
      facts: where it comes from and how it is used: equal facts, equal vectors.
      encode: items (texts, or encoded pictures as bytes or paths) -> `Encoded`, batch
        by batch, in an order that suits the encoder.
    """

    facts: dict
    encode: Callable[[Sequence], Encoded]


def load_encoder(c, *, modality: str, max_pixels: int) -> FrozenEncoder:
    """The encoder of a config's `extract` group `c`.

    Args:
      max_pixels: larger pictures are refused.

    Raises:
      CheckpointError: the checkpoint cannot be used, or its tokenizer is another's.
      CatalogueError: it has no tokenizer.
    """
    checkpoint = read_checkpoint(c.encoder)
    family = find_family(
        checkpoint, IMAGE_FAMILIES if modality == IMAGE else TEXT_FAMILIES
    )
    settings, params, stats = load_parameters(family, checkpoint)
    settings |= {"pool": c.pool} if c.pool else {}
    module = family.module(**settings, dtype=jnp.dtype(c.dtype))
    variables = {"params": params, **({"stats": stats} if stats else {})}
    variables = jax.device_put(variables)
    facts = {
        "encoder": checkpoint.directory.name,
        "weights": fingerprint(checkpoint),
        "family": family.name,
        "pool": settings.get("pool", "mean"),
        "compute": c.dtype,
    }
    apply = functools.partial(
        jax.jit(functools.partial(module.apply, training=False)), variables
    )
    if modality == IMAGE:
        look = read_preprocessing(checkpoint.preprocessor)
        if any(c.size):
            look = look._replace(resize=tuple(c.size), size=tuple(c.size))
        facts["preprocessing"] = look._asdict()
        encode = functools.partial(
            encode_pictures, apply, look=look, rows=c.rows, max_pixels=max_pixels
        )
        first = jnp.zeros((1, *look.size, 3)), jnp.ones(1)
    else:
        length = min(c.length, settings["max_length"])
        facts["length"] = length
        tokenizer = load_tokenizer(str(checkpoint.directory))
        if tokenizer.get_vocab_size() > settings["vocab_size"]:
            raise CheckpointError(
                f"{checkpoint.directory}: the tokenizer has"
                f" {tokenizer.get_vocab_size()} entries, config.json says"
                f" {settings['vocab_size']}: they do not belong together"
            )
        encode = functools.partial(
            encode_texts, apply, tokenizer=tokenizer, length=length, tokens=c.tokens
        )
        first = jnp.zeros((1, BUCKETS[0]), jnp.int32), jnp.ones((1, BUCKETS[0]), bool)
    facts["shape"] = jax.eval_shape(apply, *first).shape[1:]
    return FrozenEncoder(json.loads(json.dumps(facts)), encode)


def fingerprint(checkpoint: Checkpoint) -> str:
    """sha256 of the config and of every tensor, by name."""
    digest = hashlib.sha256(json.dumps(checkpoint.config, sort_keys=True).encode())
    for name in sorted(checkpoint.tensors):
        tensor = np.ascontiguousarray(checkpoint.tensors[name])
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        digest.update(tensor.view(np.uint8))
    return digest.hexdigest()


def encode_texts(
    apply: Callable,
    texts: Sequence[str],
    *,
    tokenizer: Tokenizer,
    length: int,
    tokens: int,
) -> Encoded:
    """Texts of like length together, the longest first.

    The longest first: what does not fit into memory fails at once, not after hours.

    Args:
      length: a longer text is cut here.
      tokens: in a batch, so that every shape takes about the same memory.
    """
    tokenizer.no_padding()
    tokenizer.enable_truncation(length)
    ids = [e.ids for e in tokenizer.encode_batch_fast(list(texts))]
    lengths = np.array([len(x) for x in ids])
    edges = np.array([*(b for b in BUCKETS if b < length), length])
    bucket = edges[np.searchsorted(edges, np.maximum(lengths, 1))]
    for width in np.unique(bucket)[::-1].tolist():
        rows = max(1, tokens // width)
        members = np.flatnonzero(bucket == width)
        for first in range(0, len(members), rows):
            here = members[first : first + rows]
            padded = np.zeros((rows, width), np.int32)
            mask = np.zeros((rows, width), bool)
            for row, i in enumerate(here.tolist()):
                padded[row, : lengths[i]] = ids[i]
                mask[row, : lengths[i]] = True
            yield here, apply(padded, mask)[: len(here)]


def encode_pictures(
    apply: Callable,
    pictures: Sequence[bytes | Path],
    *,
    look: Preprocessing,
    rows: int,
    max_pixels: int,
) -> Encoded:
    """Pictures in their order, decoded ahead by threads."""
    mean, std = (np.array(x, np.float32) for x in (look.mean, look.std))
    margin = [(a - b) // 2 for a, b in zip(look.resize, look.size, strict=True)]
    window = tuple(slice(m, m + s) for m, s in zip(margin, look.size, strict=True))

    def decode(picture: bytes | Path) -> np.ndarray:
        data = picture.read_bytes() if isinstance(picture, Path) else picture
        pixels = decode_image(data, resize=look.resize, max_pixels=max_pixels)
        return (pixels[window].astype(np.float32) / 255.0 - mean) / std

    def decode_batch(first: int) -> np.ndarray:
        batch = np.zeros((rows, *look.size, 3), np.float32)
        for row, picture in enumerate(pictures[first : first + rows]):
            batch[row] = decode(picture)
        return batch

    starts, weight = range(0, len(pictures), rows), np.ones(rows, np.float32)
    with ThreadPoolExecutor(AHEAD) as pool:
        ahead = [pool.submit(decode_batch, first) for first in starts[:AHEAD]]
        for k, first in enumerate(starts):
            batch = ahead.pop(0).result()
            if k + AHEAD < len(starts):
                ahead.append(pool.submit(decode_batch, starts[k + AHEAD]))
            here = np.arange(first, min(first + rows, len(pictures)))
            yield here, apply(batch, weight)[: len(here)]
