"""One tower of a published model, which may be a pair: config, tensors, family."""

import numpy as np

from hsjax.batch import IMAGE
from hsjax.models.families import Family
from hsjax.models.image_families import IMAGE_FAMILIES
from hsjax.models.own_families import OWN_IMAGE, OWN_TEXT
from hsjax.models.published_files import (
    CONFIG,
    LazyTensors,
    PublishedError,
    PublishedModel,
)
from hsjax.models.published_weights import find_family
from hsjax.models.text_families import TEXT_FAMILIES

KIND = "vision-text-dual-encoder"
# of a tower: its config, the start of its tensors' names, its projection
PARTS = {
    "text": ("text_config", "text_model.", "text_projection"),
    IMAGE: ("vision_config", "vision_model.", "visual_projection"),
}


def families_of(tower: str) -> dict[str, Family]:
    """By model_type; texts and images of one name (clip) are two."""
    if tower == IMAGE:
        return IMAGE_FAMILIES | OWN_IMAGE
    return TEXT_FAMILIES | OWN_TEXT


def tower_family(published: PublishedModel, tower: str, *, asked: str) -> Family:
    """The family of a model in the place of a tower.

    Args:
      tower: "text" or "image".
      asked: what wants such a tower, for the message.

    Raises:
      PublishedError: the model is one of the other side, or of an unknown family.
    """
    kind, known = published.config.get("model_type"), families_of(tower)
    other, told = ("text", "text") if tower == IMAGE else (IMAGE, "picture")
    if kind in families_of(other) and kind not in known:
        raise PublishedError(
            f"{published.directory} is a {told} encoder ({kind}), but {asked}"
        )
    return find_family(published, known)


def tower_of(published: PublishedModel, tower: str) -> PublishedModel:
    """`text` or `image` of a pair in this layout; any other model as it is.

    Raises:
      PublishedError: the pair's config.json lacks the tower, or the tower's a setting.
    """
    if published.config.get("model_type") == KIND:
        key, prefix, _ = PARTS[tower]
        if not isinstance(config := published.config.get(key), dict):
            raise PublishedError(f"{published.directory / CONFIG} lacks {key}")
        part = {"config": config, "tensors": _Part(published, prefix)}
        published = published._replace(**part)
    family = families_of(tower).get(published.config.get("model_type"))
    try:
        if family:
            family.settings(published.config)
    except PublishedError as error:
        raise PublishedError(f"{published.directory}: {error}") from None
    return published


class _Part(LazyTensors):
    """The tensors whose names start alike, without that start."""

    def __init__(self, published: PublishedModel, prefix: str):
        self._whole, self._prefix = published.tensors, prefix
        names = [n for n in published.tensors if n.startswith(prefix)]
        self._files = dict.fromkeys(n.removeprefix(prefix) for n in names)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._whole[self._prefix + name]

    def place(self, name: str) -> str:
        return self._whole.place(self._prefix + name)

    def header(self, name: str) -> tuple[tuple[int, ...], str]:
        return self._whole.header(self._prefix + name)
