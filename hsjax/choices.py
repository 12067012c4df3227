"""The words that a config may use, looked at before anything is read."""

import difflib
import re

from hsjax.batch import IMAGE
from hsjax.data.splits import PARTS
from hsjax.hierarchy import DECODES
from hsjax.models.build import IMAGE_ENCODERS, stream_flaws
from hsjax.models.fusion import FUSIONS
from hsjax.sharding import AXES
from hsjax.train.workdir import ConfigError

# what `data` reads is checked there, beside the catalogue
CHOICES = {
    "taxonomy.stop": ("data", "all"),
    "model.dtype": ("float32", "bfloat16"),
    "model.absent": ("token", "zeros"),
    "model.text.pool": ("cls", "mean", "max"),
    "model.image.family": tuple(IMAGE_ENCODERS),
    "model.image.stem": ("small", "strided", "large"),
    "model.image.block": ("basic", "bottleneck"),
    "model.image.norm": ("group", "batch"),
    "model.image.pool": ("cls", "mean"),
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


def check_choices(config) -> None:
    """Looks at every key of `CHOICES` and `RULES`, at names of modalities and parts.

    Raises:
      ConfigError: a word that is not known, with the one that may have been meant.
    """
    for key, known in CHOICES.items():
        group, _, name = key.rpartition(".")
        _check(key, _group(config, group)[name], known)
    modalities = tuple(config.model.modalities)
    if not modalities:
        raise ConfigError(
            "model.modalities is empty; name text streams, image, or both"
        )
    for name in modalities:
        _check("model.modalities", name, (*config.data.text.streams, IMAGE))
    for part in config.eval.parts:
        _check("eval.parts", part, PARTS)
    for key, (words, fits) in RULES.items():
        for rule in config[key]:
            if not _is_rule(rule, fits):
                raise ConfigError(f"{key}: {rule!r} is no (regex, {words})")
    _check_sizes(config)


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
    vit = image.family == "vit"
    wrong = [
        (size[0] > kept[0] or size[1] > kept[1], f"image.size {size} > resize {kept}"),
        (text.width % text.heads, "model.text.heads do not divide model.text.width"),
        (
            vit and image.width % image.heads,
            "model.image.heads do not divide its width",
        ),
        (
            vit and (size[0] % image.patch or size[1] % image.patch),
            f"model.image.patch {image.patch} does not divide data.image.size {size}",
        ),
        (
            not vit and len(image.stages) != len(image.widths),
            "model.image.stages and model.image.widths differ in length",
        ),
        (config.seed < 0, f"seed {config.seed} is negative"),
        (not config.data.columns.separator.strip(), "data.columns.separator is blank"),
        *((True, flaw) for flaw in stream_flaws(config)),
    ]
    for flaw, sentence in wrong:
        if flaw:
            raise ConfigError(sentence)


def _group(config, path: str):
    for name in path.split("."):
        config = config[name]
    return config


def _check(key: str, value: str, known) -> None:
    if value not in known:
        close = difflib.get_close_matches(str(value), known, n=1)
        raise ConfigError(
            f"{key} is {value!r}."
            + (f" Did you mean {close[0]!r}?" if close else "")
            + f" Known: {', '.join(known)}"
        )
