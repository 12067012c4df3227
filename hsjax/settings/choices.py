"""Is a config one that can be run? Looked at before anything is read."""

import re

from hsjax.batch import IMAGE
from hsjax.data.columns import SINGLE, label_columns, model_columns
from hsjax.data.sources import SYNTHETIC
from hsjax.data.splits import PARTS, check_fractions
from hsjax.features.labels import LABELS
from hsjax.settings.model_flaws import (
    cost_flaws,
    edition_flaws,
    fusion_flaws,
    stream_flaws,
)
from hsjax.settings.options import CHOICES, LENGTH, NUMBERS, RULES, TUPLES
from hsjax.spelling import meant
from hsjax.train.workdir import ConfigError


def check_choices(config) -> None:
    """Looks at the tables of `hsjax.settings.options`, and at what has to fit together.

    Raises:
      ConfigError: a word that is not known, with the one that may have been meant, or a
        number that is out of bounds.
      CatalogueError: fractions of the split that are none.
    """
    check_tables(config)
    modalities = tuple(config.model.modalities)
    if not modalities:
        raise ConfigError(
            "model.modalities is empty; name text streams, image, or both"
        )
    for name in modalities:
        check_word("model.modalities", name, (*config.data.text.streams, IMAGE))
    if len(set(modalities)) < len(modalities):
        raise ConfigError(f"model.modalities names one twice: {modalities}")
    for part in config.eval.parts:
        check_word("eval.parts", part, PARTS)
    for key, (words, fits) in RULES.items():
        for rule in config[key]:
            if not _is_rule(rule, fits):
                raise ConfigError(f"{key}: {rule!r} is no (regex, {words})")
    check_fractions(config.data.split.fractions)
    _check_texts(config)
    _check_sizes(config)


def check_extract(config) -> None:
    """Looks at the group `extract` alone, and at the columns that it needs.

    Raises:
      ConfigError: what it asks for is not there.
    """
    c, columns, path = config.extract, config.data.columns, config.data.path
    check_tables(config, "extract.")
    streams = tuple(config.data.text.streams)
    check_word("extract.modality", c.modality, (*streams, IMAGE, LABELS))
    image, labels = c.modality == IMAGE, c.modality == LABELS
    wrong = [
        (not c.encoder, "extract.encoder is empty: name a directory or a hub name"),
        (c.pca and not 0 < c.pca < 1, f"extract.pca is {c.pca}: a share of variance"),
        (c.prefix and image, "extract.prefix is put before texts, not before pictures"),
        (
            labels and (c.pca or c.states),
            "extract.pca and extract.states are not for labels: a class has one vector",
        ),
        (
            labels and LABELS in streams,
            f"data.text.streams: the name {LABELS!r} is taken; choose another",
        ),
        (
            image and not columns.image and path != SYNTHETIC,
            "data.columns.image is empty: name the column of pictures",
        ),
    ]
    refuse(wrong)
    if not (image or labels):
        check_stream(config, c.modality)


def check_harden(config) -> None:
    """Looks at the group `harden` alone, and at the texts that words are taken from.

    Raises:
      ConfigError: there are none, or they are more than texts.
    """
    check_tables(config, "harden.")
    streams = [m for m in config.model.modalities if m != IMAGE]
    refuse([(not streams, "model.modalities names no text stream to take words from")])
    for stream in streams:
        check_word("model.modalities", stream, (*config.data.text.streams, IMAGE))
        check_stream(config, stream)
    columns = config.data.columns
    used = {columns[key]: key for key in SINGLE}
    used |= dict.fromkeys(label_columns(config.data), "label")
    for column in model_columns(config):
        if column in used:
            raise ConfigError(
                f"data.text.streams: words would be taken out of {column!r}, which is"
                f" data.columns.{used[column]} as well; let one of them be a copy"
            )


def check_tables(config, group: str = "") -> None:
    """`CHOICES`, `TUPLES` and `NUMBERS` of the keys that start so."""
    for key, known in CHOICES.items():
        if key.startswith(group):
            check_word(key, config[key], known)
    for key, count in TUPLES.items():
        if key.startswith(group) and len(config[key]) != count:
            raise ConfigError(f"{key} is {tuple(config[key])}; it has {count} numbers")
    for key, (words, fits) in NUMBERS.items():
        if key.startswith(group):
            _check_number(key, config[key], words, fits)


def _check_texts(config) -> None:
    """Streams name columns that are read, lengths and features name modalities."""
    text = config.data.text
    for modality, folder in config.data.features.items():
        if folder:
            check_word("data.features", modality, (*text.streams, IMAGE))
    for stream, length in text.lengths.items():
        check_word("data.text.lengths", stream, tuple(text.streams))
        _check_number(f"data.text.lengths.{stream}", length, *LENGTH)
    for stream in config.model.modalities:
        check_stream(config, stream)
    if buckets := tuple(text.buckets):
        _check_buckets(config, buckets)


def _check_buckets(config, buckets: tuple[int, ...]) -> None:
    """They go up to the longest of the texts that are read as texts."""
    text, stored = config.data.text, config.data.features.to_dict()
    streams = [m for m in config.model.modalities if m != IMAGE and not stored.get(m)]
    lengths = [text.lengths.to_dict().get(m, text.length) for m in streams]
    longest = max(lengths, default=0)
    told = f"data.text.buckets is {buckets}"
    rises = list(buckets) == sorted(set(buckets))
    refuse(
        [
            (not longest, f"{told}, and no modality is a raw text; leave it at ()"),
            (not rises, f"{told}; give lengths of texts, the shortest first"),
            (
                buckets[-1] != longest,
                f"{told}; the last must be the longest of data.text.length and lengths,"
                f" {longest}: what is longer is cut there",
            ),
        ]
    )


def check_stream(config, stream: str) -> None:
    """ConfigError: a text stream of columns that are not read."""
    columns = tuple(config.data.columns.text)
    for column in config.data.text.streams.get(stream, ()):
        if column not in columns:
            raise ConfigError(
                f"data.text.streams.{stream} names {column!r}, which is not read:"
                f" data.columns.text is {columns}"
            )


def _is_rule(rule, fits) -> bool:
    try:
        pattern, *rest = rule
        re.compile(pattern)
        return fits(*rest)
    except (TypeError, ValueError, re.error):
        return False


def _check_sizes(config) -> None:
    """Numbers that only fit together."""
    size, kept = tuple(config.data.image.size), tuple(config.data.image.resize)
    text, image = config.model.text, config.model.image
    digits, train = tuple(config.taxonomy.digits), config.train
    untrained = not config.objective.classification
    vit = image.family == "vit" and not image.published
    wrong = [
        (size[0] > kept[0] or size[1] > kept[1], f"image.size {size} > resize {kept}"),
        (text.width % text.heads, "model.text.heads do not divide model.text.width"),
        (
            vit and image.width % image.heads,
            "model.image.heads do not divide its width",
        ),
        (
            image.pool == "fc7" and not image.published,
            "model.image.pool is 'fc7', which only a published VGG has",
        ),
        (
            vit and (size[0] % image.patch or size[1] % image.patch),
            f"model.image.patch {image.patch} does not divide data.image.size {size}",
        ),
        (
            not vit and len(image.stages) != len(image.widths),
            "model.image.stages and model.image.widths differ in length",
        ),
        (
            not digits or list(digits) != sorted(set(digits)),
            f"taxonomy.digits {digits} are not levels, coarsest first",
        ),
        (
            not train.steps and not train.epochs > 0,
            f"train.epochs is {train.epochs}; it must be above 0, or train.steps",
        ),
        (
            untrained and not re.match("loss$|retrieval/", train.monitor),
            f"train.monitor is {train.monitor!r}, which says nothing without"
            " objective.classification; name loss or a metric of retrieval/",
        ),
        *fusion_flaws(config),
        *edition_flaws(config),
        *cost_flaws(config),
        (not config.data.columns.separator.strip(), "data.columns.separator is blank"),
        *((True, flaw) for flaw in stream_flaws(config)),
    ]
    refuse(wrong)


def refuse(wrong) -> None:
    """Raises the first sentence whose flaw is there."""
    for flaw, sentence in wrong:
        if flaw:
            raise ConfigError(sentence)


def _check_number(key: str, value, words: str, fits) -> None:
    if not all(map(fits, value if isinstance(value, tuple | list) else (value,))):
        raise ConfigError(f"{key} is {value!r}; it must be {words}")


def check_word(key: str, value: str, known) -> None:
    """ConfigError: none of the known words."""
    if value not in known:
        told = f"{key} is {value!r}.{meant(str(value), known)}"
        raise ConfigError(f"{told} Known: {', '.join(known)}")
