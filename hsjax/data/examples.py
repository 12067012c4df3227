"""Examples of a catalogue as arrays, and how a batch is cut from them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from hsjax.batch import IMAGE, BatchSpec
from hsjax.data.augment import STRENGTHS, augment, cropped
from hsjax.data.features import Features, stores_of
from hsjax.data.image import Picture, decoded
from hsjax.data.quarantine import CatalogueError
from hsjax.data.rare_words import StoredRareWords
from hsjax.data.record import Record
from hsjax.data.store import store_shape
from hsjax.data.stored_records import StoredRecords
from hsjax.data.text import StoredTokens
from hsjax.data.tokens import Tokens, drop_tokens
from hsjax.taxonomy import Taxonomy


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Everything a batch is cut from, one entry per record.

    Attributes:
      tokens: stream -> tokens.
      images: decoded (H, W, 3) uint8, encoded bytes, a path, or None; the records of
        a prepared catalogue, whose texts and pictures are read when a batch is cut.
      resize: (height, width) of decoded pictures.
      strength: of the random views of a picture, '' = there are none.
      labels: (N, L) int32; admissible: (N, S) int32, None = no row has a set.
      group: (N,) int.
      names: stream -> (N, W) bool, words that training may drop as names.
      features: modality -> vectors that stand for it in place of the raw input.
    """

    spec: BatchSpec
    tokens: Mapping[str, Tokens | StoredTokens]
    images: Sequence[Picture] | StoredRecords
    resize: tuple[int, int]
    max_pixels: int
    strength: str = ""
    labels: np.ndarray
    group: np.ndarray
    admissible: np.ndarray | None = None
    names: Mapping[str, np.ndarray | StoredRareWords] = field(default_factory=dict)
    features: Mapping[str, Features] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def pictures(self, index: np.ndarray) -> Iterator[np.ndarray | None]:
        """Those at these places, decoded."""
        if isinstance(self.images, StoredRecords):
            images = [record.image for record in self.images.batch(index)]
        else:
            images = [self.images[i] for i in index.tolist()]
        options = {"resize": self.resize, "max_pixels": self.max_pixels}
        return (decoded(image, **options) for image in images)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What training changes at random; each example draws from (seed, its number)."""

    seed: int = 0
    crop: bool = False
    flip: bool = False
    word_drop: float = 0.0
    name_drop: float = 0.0

    @property
    def draws(self) -> bool:
        """Is anything of an example left to chance?"""
        return self.crop or self.flip or self.word_drop > 0 or self.name_drop > 0


def make_examples(
    records: Sequence[Record],
    tokens: Mapping[str, Tokens | StoredTokens],
    *,
    spec: BatchSpec,
    labels: np.ndarray,
    group: np.ndarray,
    config_image,
    names: Mapping[str, np.ndarray | StoredRareWords] = MappingProxyType({}),
    features: Mapping[str, Features] = MappingProxyType({}),
    admissible: np.ndarray | None = None,
) -> Examples:
    """Joins records with their tokens and labels."""
    stored = isinstance(records, StoredRecords)
    return Examples(
        spec=spec,
        tokens=tokens,
        images=records if stored else [r.image for r in records],
        resize=tuple(config_image.resize),
        max_pixels=config_image.max_pixels,
        strength=config_image.augment,
        labels=labels,
        group=group,
        names=names,
        features=features,
        admissible=admissible,
    )


def batch_spec(
    config,
    tree: Taxonomy,
    shapes: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> BatchSpec:
    """Static shapes of the batches of a config.

    Args:
      shapes: modality -> shape of an item, of stores that need not be there any more.

    Raises:
      CatalogueError: a modality that is neither a text stream nor the image.
    """
    text, modalities = config.data.text, config.model.modalities
    for name in modalities:
        if name != IMAGE and name not in text.streams:
            raise CatalogueError(
                f"model.modalities names {name!r}; there are {[*text.streams, IMAGE]}"
            )
    stores = stores_of(config)
    streams = [m for m in modalities if m != IMAGE and m not in stores]
    lengths = tuple((s, text.lengths.to_dict().get(s, text.length)) for s in streams)
    height, width = config.data.image.size
    seen = IMAGE in set(modalities) - stores.keys()
    image = (config.data.image.views, height, width) if seen else None
    features = tuple(
        (m, tuple(shapes[m]) if m in shapes else store_shape(stores[m]))
        for m in modalities
        if m in stores
    )
    return BatchSpec(lengths, image, tree.num_levels, features)


def assemble(
    examples: Examples,
    numbers: np.ndarray,
    index: np.ndarray,
    augmentation: Augmentation | None = None,
) -> dict[str, np.ndarray]:
    """A batch of the examples at `index`.

    Args:
      numbers: (B,) global example numbers: the counters of the random draws.
      index: (B,) positions in `examples`, which the batch keeps as `index`.
      augmentation: None = evaluation: central crop, nothing dropped. A second view is
        always drawn, from the example's number alone.
    """
    spec = examples.spec
    batch = spec.padding(len(index))
    longest = max((length for _, length in spec.lengths), default=0)
    words = longest * len(spec.streams)
    drawn = augmentation if spec.streams or spec.image else None  # not of features
    texts = 2 if drawn and drawn.name_drop else 1
    draws = _draws(numbers, 4 + texts * words, drawn)
    for position, stream in enumerate(spec.streams):
        tokens = examples.tokens[stream].at(index)
        first = 4 + longest * position
        kept = _kept_words(
            draws[:, 3:4],
            draws[:, first : first + longest],
            draws[:, words + first : words + first + longest],
            augmentation,
            examples.names[stream][index] if stream in examples.names else None,
        )
        tokens = tokens if kept is None else drop_tokens(tokens, kept)
        batch[f"{stream}_ids"], batch[f"{stream}_mask"] = tokens.ids, tokens.mask
        batch[f"has_{stream}"] = tokens.mask.any(axis=1)
    if spec.image:
        for row, picture in enumerate(examples.pictures(index)):
            if picture is not None:
                views = _views(
                    examples, picture, numbers[row], draws[row], augmentation
                )
                batch[IMAGE][row], batch["has_image"][row] = views, True
    for modality, features in examples.features.items():
        batch[f"{modality}_features"] = features.take(index)
        batch[f"has_{modality}"] = features.present(index)
        if f"{modality}_mask" in batch:
            batch[f"{modality}_mask"] = features.masks(index)
    batch["weight"][:] = 1.0
    return batch | _known(examples, index)


def _known(examples: Examples, index: np.ndarray) -> dict[str, np.ndarray]:
    """What is known of the rows beside what a model reads."""
    known = {"labels": examples.labels[index], "index": index.astype(np.int32)}
    if examples.spec.admissible:
        known["admissible"] = examples.admissible[index]
    return known | {"group": examples.group[index].astype(np.int32)}


def _kept_words(
    rate: np.ndarray,
    words: np.ndarray,
    names: np.ndarray,
    augmentation: Augmentation | None,
    is_name: np.ndarray | None,
) -> np.ndarray | None:
    """(B, W) which words stay, by uniform draws of text, words and names; None = all.

    Half of the texts lose no word by `word_drop`: what is learnt must not cost clean
    accuracy.
    """
    if not augmentation or not (augmentation.word_drop or augmentation.name_drop):
        return None
    kept = words >= np.maximum(2 * rate - 1, 0) * augmentation.word_drop
    if is_name is not None and augmentation.name_drop:
        width = min(is_name.shape[1], kept.shape[1])
        lost = is_name[:, :width] & (names[:, :width] < augmentation.name_drop)
        kept[:, :width] &= ~lost
    return kept


def _draws(numbers: np.ndarray, count: int, augmentation) -> np.ndarray:
    """(B, count) uniform: crop y and x, flip, rate of lost words, words, names."""
    draws = np.zeros((len(numbers), count))
    if augmentation and augmentation.draws:
        for row, number in enumerate(numbers):
            counter = [0, 0, 0, int(number)]
            bits = np.random.Philox(key=augmentation.seed, counter=counter)
            draws[row] = np.random.Generator(bits).random(count)
    return draws


def _views(examples: Examples, picture, number, draws, augmentation):
    """(V, H, W, 3): the crop, or in training of some strength one more random view."""
    count, *size = examples.spec.image
    drawn = range(0 if augmentation and examples.strength else 1, count)
    views = [] if 0 in drawn else [_plain(picture, tuple(size), draws, augmentation)]
    for view in drawn:
        # not the counters of the other draws
        seed = augmentation.seed if augmentation else 0
        bits = np.random.Philox(key=seed, counter=[0, 1 + view, 0, int(number)])
        rng = np.random.Generator(bits)
        views.append(augment(picture, tuple(size), STRENGTHS[examples.strength], rng))
    return views[0][None] if count == 1 else np.stack(views)


def _plain(picture, size: tuple[int, int], draws, how) -> np.ndarray:
    where = draws[:2].tolist() if how and how.crop else (0.5, 0.5)
    view = cropped(picture, size, where)
    return view[:, ::-1] if how and how.flip and draws[2] < 0.5 else view
