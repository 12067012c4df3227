"""The encoders of a classifier: raw modalities or cached features in, features out."""

from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped
from ml_collections import FrozenConfigDict

from hsjax.batch import IMAGE, BatchSpec
from hsjax.models.depth import Execution
from hsjax.models.layers import masked_mean
from hsjax.models.published_towers import published_encoder
from hsjax.models.scratch_towers import STATES, image_tower, text_tower

# see hsjax.batch; all that the model reads
Inputs = Mapping[str, Shaped[Array, "B ..."] | Shaped[np.ndarray, "B ..."]]


class Encoded(NamedTuple):
    """One modality of a batch.

    Attributes:
      feature: (B, D), or the states (B, T, D) of tokens, patches or cells.
      mask: (B, T), which states count; None of one vector.
      views: (B, V, D) of every view of a picture, None where no loss reads them.
    """

    feature: Float[Array, "B *T D"]
    mask: Bool[Array, "B T"] | None = None
    views: Float[Array, "B V D"] | None = None


class Towers(nn.Module):
    """What a classifier knows of its encoders.

    Attributes:
      config: the model group of a config, with the objective inside.
      published: tower -> config.json of the published encoder that stands there.
    """

    config: FrozenConfigDict
    spec: BatchSpec
    vocab_size: int
    published: Mapping[str, Mapping]

    @property
    def _dtype(self) -> jnp.dtype:
        return jnp.dtype(self.config.dtype)

    def _encoder(self, name: str, tower: str, *, states: bool) -> nn.Module:
        return make_encoder(self, name, tower, states=states)

    def _encode(
        self, encoder: nn.Module | None, batch: Inputs, name: str, training: bool
    ) -> "Encoded":
        """Of one modality. Cached features have no encoder.

        What is absent is zeroed before it can matter.
        """
        here = batch[f"has_{name}"]
        if f"{name}_features" in batch:
            feature = batch[f"{name}_features"]
            lift = (-1, *(1,) * (feature.ndim - 1))
            feature = jnp.where(here.reshape(lift), feature, 0.0)
            mask = batch.get(f"{name}_mask")
            return Encoded(feature, None if mask is None else mask & here[:, None])
        if name == IMAGE:
            return self._encode_pictures(encoder, batch, training)
        mask = batch[f"{name}_mask"] & here[:, None]
        found = encoder(jnp.where(mask, batch[f"{name}_ids"], 0), mask, training)
        return Encoded(found, mask if found.ndim == 3 else None)

    def _encode_pictures(
        self, encoder: nn.Module, batch: Inputs, training: bool
    ) -> "Encoded":
        """The first view is the picture; all are encoded where a loss reads them."""
        pictures, here = batch[IMAGE], batch["has_image"]
        count = pictures.shape[1] if self.config.objective.self_supervised else 1
        lift = (-1, *(1,) * (pictures.ndim - 1))
        pixels = jnp.where(here.reshape(lift), pictures[:, :count], 0)
        pixels = pixels.reshape(-1, *pixels.shape[2:])  # (B V, H, W, 3)
        mean = jnp.array(self.config.image.mean).reshape(1, 1, 1, 3)
        std = jnp.array(self.config.image.std).reshape(1, 1, 1, 3)
        pixels = (pixels.astype(jnp.float32) / 255.0 - mean) / std
        weight = jnp.repeat(jnp.where(here, batch["weight"], 0.0), count)
        found = encoder(pixels.astype(self._dtype), weight, training)
        found = found.reshape(len(here), count, *found.shape[1:])
        feature, mask = found[:, 0], None
        if feature.ndim == 3:
            mask = jnp.broadcast_to(here[:, None], feature.shape[:2])
        if not self.config.objective.self_supervised:
            return Encoded(feature, mask)
        return Encoded(feature, mask, found if mask is None else found.mean(axis=2))


def make_encoder(towers: Towers, name: str, tower: str, *, states: bool) -> nn.Module:
    """Of one vector per item, or of its states, whatever the config pools by.

    Args:
      name: of the modality.
      tower: what its parameters are called.
    """
    c, spec = towers.config, towers.spec
    how = Execution(c.attention, c.scan, c.remat)
    options = {"dtype": jnp.dtype(c.dtype), "how": how, "name": tower}
    if tower in towers.published:
        own = c[tower]
        options |= {"dropout": own.dropout, "pool": STATES if states else own.pool}
        return published_encoder(towers.published[tower], **options)
    options |= {"pool": STATES} if states else {}
    if name == IMAGE:
        return image_tower(c.image, **options)
    return text_tower(
        c.text[name] if name in c.text else c.text,
        vocab_size=towers.vocab_size,
        max_length=max(length for _, length in spec.lengths),
        **options,
    )


def pooled(
    x: Float[Array, "B *T D"], mask: Bool[Array, "B T"] | None
) -> Float[Array, "B D"]:
    """The mean of states that count, (B, T, D); what is one vector stays."""
    return x if mask is None else masked_mean(x, mask)


def as_states(
    x: Float[Array, "B *T D"], mask: Bool[Array, "B T"] | None, kept: Bool[Array, "B"]
) -> tuple[Float[Array, "B _ D"], Bool[Array, "B _"]]:
    """One vector is one state; of a modality that is not kept the first one counts."""
    if mask is None:
        return x[:, None], jnp.ones((len(x), 1), bool)
    first = jnp.arange(mask.shape[1])[None] == 0
    return x, jnp.where(kept[:, None], mask, first)
