"""Which words and parts of a picture an answer stands on, by taking them away.

For what reaches the model as features of a frozen encoder there is no gradient by words
or pixels. The text without a word, or the picture with a grey field, goes through the
encoder again: the part counts for as much as log p(answer) falls (Zeiler & Fergus
2014, https://arxiv.org/abs/1311.2901; for words Li et al. 2016, arxiv.org/abs/
1612.08220).
"""

import io
from collections.abc import Collection, Iterator, Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image

from hsjax.batch import IMAGE
from hsjax.data.features import stores_of
from hsjax.data.pixels import decode_image, opened_image
from hsjax.data.store import ABSENT, open_store
from hsjax.data.text import stream_texts
from hsjax.data.tokens import tokenize
from hsjax.explanation.asked import Asked, Batch
from hsjax.features.live import encode_missing

SPANS = 48  # parts of a text, at most: each goes through the encoder
WHOLE = [0.0, 0.0, 1.0, 1.0]
FIELDS = 5  # of a picture, along each side
ORIENTATION = 0x0112  # of EXIF; above 4 a picture lies on its side
LONG_SIDE = 384  # pixels of a picture that goes through the encoder again


def stream_text(asked: Asked, place: int, stream: str) -> str:
    """The text of a product that a stream is made of."""
    columns = asked.run.config.data.text.streams[stream]
    (text,) = stream_texts([asked.records[place]], columns)
    return text


def occluded_words(
    asked: Asked, place: int, stream: str
) -> tuple[list[str], Float[np.ndarray, "S"]]:
    """(words, or runs of words of a long text; how much each counts)."""
    words = stream_text(asked, place, stream).split()
    parts = np.array_split(np.arange(len(words)), SPANS)
    spans = [part.tolist() for part in parts if len(part)]
    texts = [" ".join(words), *(_without(words, span) for span in spans)]
    whole, *rest = asked.variants(place, seen_texts(asked, stream, texts)).tolist()
    told = [" ".join(words[i] for i in span) for span in spans]
    return told, whole - np.array(rest)


def _without(words: Sequence[str], span: Collection[int]) -> str:
    return " ".join(word for i, word in enumerate(words) if i not in span)


def without_words(
    asked: Asked, place: int, stream: str, spans: Sequence[Collection[int]]
) -> Float[np.ndarray, "V"]:
    """log p(answer) of a product whose text lacks the words at these places."""
    words = stream_text(asked, place, stream).split()
    texts = [_without(words, span) for span in spans]
    return asked.variants(place, seen_texts(asked, stream, texts))


def seen_texts(asked: Asked, stream: str, texts: Sequence[str]) -> Batch:
    """What of a batch is otherwise where a stream has these texts."""
    folder = stores_of(asked.run.config).get(stream)
    if folder:
        return _features(asked, stream, folder, texts)
    length = dict(asked.run.spec.lengths)[stream]
    tokens = tokenize(asked.run.tokenizer, list(texts), length)
    return {
        f"{stream}_ids": tokens.ids,
        f"{stream}_mask": tokens.mask,
        f"has_{stream}": tokens.mask.any(axis=1),
    }


def occluded_fields(
    asked: Asked, place: int
) -> tuple[Float[np.ndarray, "G G"], list[float]]:
    """How much each field of a product's picture counts, and the `seen_box` of them.

    Fields of the whole picture, or of what a model sees of it that reads pictures.
    """
    grey = (np.array(asked.run.config.model.image.mean) * 255).astype(np.uint8)
    folder = stores_of(asked.run.config).get(IMAGE)
    if folder:
        limit = asked.run.config.data.image.max_pixels
        picture = whole_picture(asked.records[place], max_pixels=limit)
        pictures = [_png(x) for x in _covered(picture, grey)]
        changed = _features(asked, IMAGE, folder, pictures)
    else:
        seen = asked.batch[IMAGE][place, 0]
        changed = {IMAGE: np.stack([*_covered(seen, grey)])[:, None]}
    whole, *rest = asked.variants(place, changed).tolist()
    counts = (whole - np.array(rest)).reshape(FIELDS, FIELDS)
    return counts, WHOLE if folder else seen_box(asked)


def seen_box(asked: Asked) -> list[float]:
    """[top, left, bottom, right] of what a model sees, as shares of the picture."""
    size = np.array(asked.run.spec.image[1:])
    whole = np.array(asked.examples.resize)
    first = (0.5 * (whole - size + 1)).astype(int)  # the central crop, see `assemble`
    return [*(first / whole).tolist(), *((first + size) / whole).tolist()]


def _covered(picture: np.ndarray, grey: np.ndarray) -> Iterator[np.ndarray]:
    """The picture, then with one field after the other grey, row by row."""
    yield picture
    height, width = picture.shape[:2]
    rows = np.linspace(0, height, FIELDS + 1).astype(int)
    columns = np.linspace(0, width, FIELDS + 1).astype(int)
    for y in range(FIELDS):
        for x in range(FIELDS):
            covered = picture.copy()
            covered[rows[y] : rows[y + 1], columns[x] : columns[x + 1]] = grey
            yield covered


def _png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()


def whole_picture(record, *, max_pixels: int) -> np.ndarray | None:
    """A product's picture in its own shape, (H, W, 3) uint8; None without one."""
    image = record.image
    if image is None or isinstance(image, np.ndarray):
        return image
    data = image if isinstance(image, bytes) else image.read_bytes()
    with opened_image(data, max_pixels=max_pixels) as opened:
        turned = opened.getexif().get(ORIENTATION, 1) > 4
        width, height = opened.size[::-1] if turned else opened.size
    scale = min(1.0, LONG_SIDE / max(width, height))
    shape = max(1, round(height * scale)), max(1, round(width * scale))
    return decode_image(data, resize=shape, max_pixels=max_pixels)


def _features(asked: Asked, modality: str, folder, items: Sequence) -> Batch:
    """Features of items by the store's own encoder; an empty text is absent."""
    limit = asked.run.config.data.image.max_pixels
    names = [str(i) for i in range(len(items))]
    there = [not isinstance(x, str) or bool(x.strip()) for x in items]
    quiet = {"max_pixels": limit, "told": False}
    vectors, lengths = encode_missing(folder, list(items), **quiet)
    store = open_store(folder).extended(names, vectors, lengths)
    rows = np.where(there, store.rows(names), ABSENT)
    found = {
        f"{modality}_features": store.take(rows),
        f"has_{modality}": rows != ABSENT,
    }
    if f"{modality}_mask" in asked.batch:
        found[f"{modality}_mask"] = store.masks(rows)
    return found
