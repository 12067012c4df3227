"""The words that a config may use, looked at before anything is read."""

import difflib
import re

from ml_collections import ConfigDict

from hsjax.batch import IMAGE
from hsjax.data.splits import PARTS, check_fractions
from hsjax.hierarchy import DECODES
from hsjax.models.build import IMAGE_ENCODERS
from hsjax.models.fusion import FUSIONS
from hsjax.sharding import AXES
from hsjax.train.workdir import ConfigError

# what `data` reads is checked there, beside the catalogue
CHOICES = {
    "taxonomy.stop": ("data", "all"),
    "model.dtype": ("float32", "bfloat16"),
    "model.absent": ("token", "zeros"),
    "model.text.pool": ("", "cls", "mean", "max", "eot", "map"),
    "model.image.family": tuple(IMAGE_ENCODERS),
    "model.image.stem": ("small", "strided", "large"),
    "model.image.block": ("basic", "bottleneck"),
    "model.image.norm": ("group", "batch"),
    "model.image.pool": ("", "cls", "mean", "max", "map", "fc7"),
    "model.fusion.kind": tuple(FUSIONS),
    "model.fusion.norm": ("layer", "raw"),
    "model.head.norm": ("layer", "batch", "none"),
    "model.head.feed": ("probabilities", "none"),
    "objective.level_reduction": ("sum", "mean"),
    "objective.direction": ("both", "t2i", "i2t"),
    "optim.name": ("adamw", "adam"),
    "optim.schedule": ("cosine", "constant", "linear"),
    "eval.decode": tuple(DECODES),
}

_NOT_NEGATIVE = ("0 or more", lambda x: x >= 0)
_POSITIVE = ("above 0", lambda x: x > 0)
_COUNT = ("1 or more", lambda x: x >= 1)
_SHARE = ("from 0 to 1", lambda x: 0 <= x <= 1)
_LENGTH = ("3 or more: two tokens mark the ends of a text", lambda x: x >= 3)

# what a number, or each of several, must be, in words and as a test
NUMBERS = {
    "seed": _NOT_NEGATIVE,
    "data.batch_size": _COUNT,
    "data.weighted_sampling": _NOT_NEGATIVE,
    "data.text.length": _LENGTH,
    "data.text.word_drop": _SHARE,
    "data.image.size": _COUNT,
    "taxonomy.digits": _COUNT,
    "model.modality_dropout": _SHARE,
    "model.text.dropout": _SHARE,
    "model.text.heads": _COUNT,
    "model.image.dropout": _SHARE,
    "model.image.heads": _COUNT,
    "model.image.patch": _COUNT,
    "model.head.dropout": _SHARE,
    "objective.temperature": _POSITIVE,
    "optim.warmup": _SHARE,
    "optim.layer_decay": ("above 0, at most 1", lambda x: 0 < x <= 1),
    "train.steps": _NOT_NEGATIVE,
    "train.log_every": _COUNT,
    "train.ema": ("0 or more and below 1", lambda x: 0 <= x < 1),
    "train.data_devices": _NOT_NEGATIVE,
    "train.fsdp_devices": _COUNT,
    "eval.batch_size": _COUNT,
    "eval.topk": _COUNT,
}

# rules on names of parameters: what follows the regex, in words and as a test
RULES = {
    "init_rules": ("load | fresh", lambda action: action in ("load", "fresh")),
    "optim.rules": (
        "multiplier of 0 or more, True | False",
        lambda times, decay: times >= 0 and isinstance(decay, bool),
    ),
    "train.sharding": (
        f"(axis of {' | '.join(AXES)} | None, ...)",
        lambda axes: not isinstance(axes, str) and {*axes} <= {*AXES, None},
    ),
}


# names in the classifier, beside a tower per modality
MODULES = ("text", "fusion", "head", "temperature")


def check_choices(config) -> None:
    """Looks at `CHOICES`, `NUMBERS` and `RULES`, and at what has to fit together.

    Raises:
      ConfigError: a word that is not known, with the one that may have been meant, or a
        number that is out of bounds.
      CatalogueError: fractions of the split that are none.
    """
    for key, known in CHOICES.items():
        _check(key, config[key], known)
    modalities = tuple(config.model.modalities)
    if not modalities:
        raise ConfigError(
            "model.modalities is empty; name text streams, image, or both"
        )
    for name in modalities:
        _check("model.modalities", name, (*config.data.text.streams, IMAGE))
    if len(set(modalities)) < len(modalities):
        raise ConfigError(f"model.modalities names one twice: {modalities}")
    for part in config.eval.parts:
        _check("eval.parts", part, PARTS)
    for key, (words, fits) in RULES.items():
        for rule in config[key]:
            if not _is_rule(rule, fits):
                raise ConfigError(f"{key}: {rule!r} is no (regex, {words})")
    for key, (words, fits) in NUMBERS.items():
        _check_number(key, config[key], words, fits)
    check_fractions(config.data.split.fractions)
    _check_texts(config)
    _check_sizes(config)


def _check_texts(config) -> None:
    """Streams name columns that are read, lengths and features name modalities."""
    text, columns = config.data.text, tuple(config.data.columns.text)
    for modality, folder in config.data.features.items():
        if folder:
            _check("data.features", modality, (*text.streams, IMAGE))
    for stream, length in text.lengths.items():
        _check("data.text.lengths", stream, tuple(text.streams))
        _check_number(f"data.text.lengths.{stream}", length, *_LENGTH)
    for stream in config.model.modalities:
        for column in text.streams.get(stream, ()):
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
        (not config.data.columns.separator.strip(), "data.columns.separator is blank"),
        *((True, flaw) for flaw in stream_flaws(config)),
    ]
    for flaw, sentence in wrong:
        if flaw:
            raise ConfigError(sentence)


def _check_number(key: str, value, words: str, fits) -> None:
    if not all(map(fits, value if isinstance(value, tuple | list) else (value,))):
        raise ConfigError(f"{key} is {value!r}; it must be {words}")


def _check(key: str, value: str, known) -> None:
    if value not in known:
        close = difflib.get_close_matches(str(value), known, n=1)
        raise ConfigError(
            f"{key} is {value!r}."
            + (f" Did you mean {close[0]!r}?" if close else "")
            + f" Known: {', '.join(known)}"
        )


def stream_flaws(config) -> list[str]:
    """Why the text streams of a whole config cannot be built, a sentence per stream."""
    shared, flaws = config.model.text, []
    settings = {k for k, v in shared.items() if not isinstance(v, ConfigDict)}
    stored = {m for m, folder in config.data.features.items() if folder}
    for name in config.data.text.streams:
        own = name in shared and name not in settings
        alone = own or name in stored  # it has modules of its own name
        if name == IMAGE or name in settings or (alone and name in MODULES):
            flaws.append(
                f"data.text.streams: the name {name!r} is taken; choose another"
            )
        elif own and (missing := settings - {"published"} - set(shared[name])):
            flaws.append(f"model.text.{name} lacks {', '.join(sorted(missing))}")
        elif own and "published" in shared[name] and shared[name].published:
            flaws.append(
                f"model.text.{name}.published: a stream with settings of its own is"
                " trained from scratch; model.text.published is for all the others"
            )
    return flaws
