"""Items through an encoder, batch by batch: texts by length, pictures decoded ahead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int32, Integer, UInt8
from tokenizers import Tokenizer

from hsjax.data.buckets import lengths_up_to
from hsjax.data.image import cores, encoded_bytes
from hsjax.data.pixels import ImageError, decode_image
from hsjax.data.quarantine import CatalogueError
from hsjax.data.store_parts import as_stored
from hsjax.models.preprocessing import Preprocessing
from hsjax.progress import progress

WINDOW = 50_000  # texts that are in memory, and sorted by length, at once
CHUNK = 4096  # texts whose tokens are Python's at a time
AHEAD = 2  # batches of pictures that are decoded while one is encoded

Picture = bytes | Path | UInt8[np.ndarray, "H W 3"]


class EncodedBatch(NamedTuple):
    """A batch of items.

    Attributes:
      positions: of these items among all that were given.
      vectors: (B, D), or (B, T, D) of every token; they may still be computed.
      lengths: how many of the T are tokens; None = one vector an item, or all.
    """

    positions: Integer[np.ndarray, "B"]
    vectors: Float[jax.Array, "B *shape"] | Float[np.ndarray, "B *shape"]
    lengths: Integer[np.ndarray, "B"] | None


def encode_texts(
    apply: Callable,
    texts: Iterable[str],
    *,
    tokenizer: Tokenizer,
    length: int,
    tokens: int,
    prefix: str = "",
) -> Iterator[EncodedBatch]:
    """Texts of like length together, the longest of a window first.

    The longest first: what does not fit into memory fails at once, not after hours.

    Args:
      apply: (ids (B, T) int32, mask (B, T) bool) -> (B, D) or (B, T, D).
      length: a longer text is cut here.
      tokens: in a batch, so that every shape takes about the same memory.
      prefix: put before each text.
    """
    tokenizer.no_padding()
    tokenizer.enable_truncation(length)
    rest, first = iter(texts), 0
    while window := list(islice(rest, WINDOW)):
        ids = token_ids(tokenizer, [prefix + text for text in window])
        for batch in _by_length(apply, ids, length=length, tokens=tokens):
            yield batch._replace(positions=batch.positions + first)
        first += len(window)


def token_ids(
    tokenizer: Tokenizer, texts: Sequence[str]
) -> list[Int32[np.ndarray, "_"]]:
    """Of each text, as the tokenizer is set."""
    found = []
    for first in range(0, len(texts), CHUNK):
        encodings = tokenizer.encode_batch_fast(texts[first : first + CHUNK])
        found += [np.array(e.ids, np.int32) for e in encodings]
    return found


def _by_length(
    apply: Callable, ids: Sequence[np.ndarray], *, length: int, tokens: int
) -> Iterator[EncodedBatch]:
    lengths = np.array([len(x) for x in ids])
    edges = np.array(lengths_up_to(length))
    bucket = edges[np.searchsorted(edges, np.maximum(lengths, 1))]
    for width in np.unique(bucket)[::-1].tolist():
        members = np.flatnonzero(bucket == width)
        rows = _rows(max(1, tokens // width), len(members))
        for first in range(0, len(members), rows):
            here = members[first : first + rows]
            batch = pad([ids[i] for i in here.tolist()], rows=rows, width=width)
            vectors = apply(*batch)[: len(here)]
            yield EncodedBatch(
                here, vectors, lengths[here] if vectors.ndim > 2 else None
            )


def pad(
    ids: Sequence[Int32[np.ndarray, "_"]], *, rows: int, width: int
) -> tuple[Int32[np.ndarray, "B T"], Bool[np.ndarray, "B T"]]:
    """(ids, mask) of texts; rows beyond them are empty."""
    padded = np.zeros((rows, width), np.int32)
    mask = np.zeros((rows, width), bool)
    for row, text in enumerate(ids):
        padded[row, : len(text)] = text
        mask[row, : len(text)] = True
    return padded, mask


def _rows(most: int, items: int) -> int:
    """Of a batch: a power of 2 where a few items would leave it nearly empty."""
    return min(most, 1 << max(items - 1, 0).bit_length())


def encode_pictures(
    apply: Callable,
    pictures: Iterable[Picture],
    *,
    look: Preprocessing,
    rows: int,
    max_pixels: int,
) -> Iterator[EncodedBatch]:
    """Pictures in their order, decoded ahead by a thread per core.

    Args:
      apply: (pixels (B, H, W, 3) uint8, weight (B,)) -> (B, D) or (B, P, D).
      pictures: encoded, or decoded already to `look.resize`.

    Raises:
      CatalogueError: one cannot be decoded; says which.
    """
    rest, first = iter(pictures), 0
    start = list(islice(rest, rows))
    rows = _rows(rows, len(start))
    views = _views(chain(start, rest), look=look, ahead=AHEAD * rows, limit=max_pixels)
    weight = np.ones(rows, np.float32)
    while here := list(islice(views, rows)):
        batch = np.zeros((rows, *look.size, 3), np.uint8)
        batch[: len(here)] = here
        positions = np.arange(first, first + len(here))
        yield EncodedBatch(positions, apply(batch, weight)[: len(here)], None)
        first += len(here)


def _views(
    pictures: Iterable[Picture], *, look: Preprocessing, ahead: int, limit: int
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """What the encoder sees of each picture: the window in the middle."""
    margin = [(a - b) // 2 for a, b in zip(look.resize, look.size, strict=True)]
    window = tuple(slice(m, m + s) for m, s in zip(margin, look.size, strict=True))
    options = {"resize": look.resize, "resample": look.resample, "max_pixels": limit}

    def view(number: int, picture: Picture) -> np.ndarray:
        if isinstance(picture, np.ndarray):
            return picture[window]
        try:
            data = encoded_bytes(picture)
            return decode_image(data, **options)[window]
        except (ImageError, OSError) as error:
            name = "" if isinstance(picture, bytes) else f" ({picture})"
            raise CatalogueError(f"picture {number}{name}: {error}") from None

    waiting: deque = deque()
    with ThreadPoolExecutor(cores()) as pool:
        for number, picture in enumerate(pictures, 1):
            waiting.append(pool.submit(view, number, picture))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def fetched(
    batches: Iterator[EncodedBatch],
    *,
    shape: Sequence[int],
    dtype: str,
    total: int | None,
    told: str,
) -> Iterator[EncodedBatch]:
    """As numpy arrays of a store; a batch is fetched when the next is on its way.

    Args:
      shape: of one item; fewer tokens than that are filled up with zeros.
      total: items in all, None = not known; told: what the progress bar says.

    Raises:
      CatalogueError: vectors that are not finite in `dtype`.
    """

    def stored(batch: EncodedBatch) -> EncodedBatch:
        vectors = as_stored(np.asarray(batch.vectors), dtype)
        if vectors.shape[1:] != tuple(shape):
            whole = np.zeros((len(vectors), *shape), dtype)
            whole[:, : vectors.shape[1]] = vectors
            vectors = whole
        return batch._replace(vectors=vectors)

    before = None
    with progress(told=told, total=total, unit="items") as bar:
        for batch in batches:
            if before is not None:
                yield stored(before)
                bar.update(len(before.positions))
            before = batch
        if before is not None:
            yield stored(before)
