"""Items through an encoder, batch by batch: texts by length, pictures decoded ahead."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from tokenizers import Tokenizer
from tqdm import tqdm

from hsjax.data.image import ImageError, decode_image
from hsjax.data.quarantine import CatalogueError
from hsjax.models.preprocessing import Preprocessing

# tokens of a bucket: a text is padded to the next one, so that little is wasted and
# few shapes are compiled
BUCKETS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
AHEAD = 2  # batches of pictures that are decoded while one is encoded


class Encoded(NamedTuple):
    """A batch of items.

    Attributes:
      positions: (B,) of these items among all that were given.
      vectors: (B, D), or (B, T, D) of every token; they may still be computed.
      lengths: (B,) how many of the T are tokens; None = one vector an item, or all.
    """

    positions: np.ndarray
    vectors: jax.Array | np.ndarray
    lengths: np.ndarray | None


def encode_texts(
    apply: Callable,
    texts: Sequence[str],
    *,
    tokenizer: Tokenizer,
    length: int,
    tokens: int,
) -> Iterator[Encoded]:
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
        members = np.flatnonzero(bucket == width)
        rows = _rows(max(1, tokens // width), len(members))
        for first in range(0, len(members), rows):
            here = members[first : first + rows]
            padded = np.zeros((rows, width), np.int32)
            mask = np.zeros((rows, width), bool)
            for row, i in enumerate(here.tolist()):
                padded[row, : lengths[i]] = ids[i]
                mask[row, : lengths[i]] = True
            vectors = apply(padded, mask)[: len(here)]
            yield Encoded(here, vectors, lengths[here] if vectors.ndim > 2 else None)


def _rows(most: int, items: int) -> int:
    """Of a batch: a power of 2 where a few items would leave it nearly empty."""
    return min(most, 1 << max(items - 1, 0).bit_length())


def encode_pictures(
    apply: Callable,
    pictures: Sequence[bytes | Path],
    *,
    look: Preprocessing,
    rows: int,
    max_pixels: int,
) -> Iterator[Encoded]:
    """Pictures in their order, decoded ahead by threads.

    Raises:
      CatalogueError: one cannot be decoded; says which.
    """
    mean, std = (np.array(x, np.float32) for x in (look.mean, look.std))
    margin = [(a - b) // 2 for a, b in zip(look.resize, look.size, strict=True)]
    window = tuple(slice(m, m + s) for m, s in zip(margin, look.size, strict=True))
    rows = _rows(rows, len(pictures))

    def decode(number: int) -> np.ndarray:
        picture = pictures[number]
        try:
            data = picture.read_bytes() if isinstance(picture, Path) else picture
            pixels = decode_image(data, resize=look.resize, max_pixels=max_pixels)
        except (ImageError, OSError) as error:
            name = f" ({picture})" if isinstance(picture, Path) else ""
            raise CatalogueError(
                f"picture {number + 1} of {len(pictures)}{name}: {error}"
            ) from None
        return (pixels[window].astype(np.float32) / 255.0 - mean) / std

    def decode_batch(first: int) -> np.ndarray:
        batch = np.zeros((rows, *look.size, 3), np.float32)
        for row in range(min(rows, len(pictures) - first)):
            batch[row] = decode(first + row)
        return batch

    starts, weight = range(0, len(pictures), rows), np.ones(rows, np.float32)
    with ThreadPoolExecutor(AHEAD) as pool:
        ahead = [pool.submit(decode_batch, first) for first in starts[:AHEAD]]
        for k, first in enumerate(starts):
            batch = ahead.pop(0).result()
            if k + AHEAD < len(starts):
                ahead.append(pool.submit(decode_batch, starts[k + AHEAD]))
            here = np.arange(first, min(first + rows, len(pictures)))
            yield Encoded(here, apply(batch, weight)[: len(here)], None)


def fetched(
    batches: Iterator[Encoded],
    *,
    shape: Sequence[int],
    dtype: str,
    total: int,
    told: str,
) -> Iterator[Encoded]:
    """As numpy arrays of a store; a batch is fetched when the next is on its way.

    Args:
      shape: of one item; fewer tokens than that are filled up with zeros.
      total: items in all; told: what the progress bar says.
    """

    def stored(batch: Encoded) -> Encoded:
        vectors = np.asarray(batch.vectors).astype(dtype)
        if vectors.shape[1:] != tuple(shape):
            whole = np.zeros((len(vectors), *shape), dtype)
            whole[:, : vectors.shape[1]] = vectors
            vectors = whole
        return batch._replace(vectors=vectors)

    before = None
    with tqdm(total=total, desc=told, disable=None, leave=False) as bar:
        for batch in batches:
            if before is not None:
                yield stored(before)
                bar.update(len(before.positions))
            before = batch
        if before is not None:
            yield stored(before)
