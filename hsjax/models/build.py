"""A model from a config: two pure functions."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped
from ml_collections import FrozenConfigDict

from hsjax.batch import IMAGE, BatchSpec
from hsjax.models.fusion import FUSIONS
from hsjax.models.head import HEADS
from hsjax.models.joint import Projection, mean_embedding, unit_length, with_dropout
from hsjax.models.label_tower import LabelFeatures
from hsjax.models.layers import masked_mean
from hsjax.models.published_towers import published_encoder
from hsjax.models.scratch_towers import image_tower, text_tower
from hsjax.taxonomy import Taxonomy

# see hsjax.batch; all that the model reads
Inputs = Mapping[str, Shaped[Array, "B ..."] | Shaped[np.ndarray, "B ..."]]


class Outputs(NamedTuple):
    """What a model says of a batch.

    Attributes:
      logits: (B, C) per level, raw, in slot order.
      text, image: (B, E) unit length, None without that modality. Where it is absent,
        text is zero and image is that of a black picture.
      fused: (B, F).
      scale: () 1 / temperature of the contrastive loss.
      bias: () of the sigmoid loss, None with another.
    """

    logits: tuple[Float[Array, "B _"], ...]
    text: Float[Array, "B E"] | None
    image: Float[Array, "B E"] | None
    fused: Float[Array, "B F"]
    scale: Float[Array, ""]
    bias: Float[Array, ""] | None = None


class Model(NamedTuple):
    """Two pure functions.

    init(key, batch) -> (params, stats)
    apply(params, stats, batch, *, dropout_key=None) -> (Outputs, stats)

    A dropout key means training; without one the answer is deterministic. `stats` holds
    BatchNorm statistics and is an empty dict where there is no BatchNorm.
    """

    init: Callable
    apply: Callable


class ProductClassifier(nn.Module):
    """Encoders -> projections -> fusion -> head.

    `config` is the model group of a config, with the objective inside.
    """

    config: FrozenConfigDict
    spec: BatchSpec
    tree: Taxonomy
    vocab_size: int
    published: Mapping[str, Mapping]
    labels: LabelFeatures | None

    @nn.compact
    def __call__(self, batch: Inputs, training: bool) -> Outputs:
        names = tuple(self.config.modalities)
        present = jnp.stack([batch[f"has_{m}"] for m in names], axis=1)  # (B, M)
        kept, key = present, lambda: self.make_rng("dropout")
        if training:
            kept = with_dropout(self.config, names, present, key)
        parts, embeddings = self._modalities(batch, names, kept, training)
        texts = [m for m in names if m != IMAGE]
        told = [embeddings[m] for m in texts], [batch[f"has_{m}"] for m in texts]
        text = mean_embedding(*told) if texts else None
        fuse = FUSIONS[self.config.fusion.kind](self.config.fusion.norm, name="fusion")
        fused = fuse(parts, names, kept)
        c = self.config.head
        head = HEADS[c.kind](self.tree, c, self._dtype, self.labels, name="head")
        logits = head(fused, batch["weight"], training)
        image = unit_length(embeddings[IMAGE]) if IMAGE in names else None
        return Outputs(logits, text, image, fused, self._scale(), self._bias())

    @property
    def _dtype(self) -> jnp.dtype:
        return jnp.dtype(self.config.dtype)

    def _modalities(
        self,
        batch: Inputs,
        names: Sequence[str],
        kept: Bool[Array, "B M"],
        training: bool,
    ) -> tuple[list[Float[Array, "B E"]], dict[str, Float[Array, "B E"]]]:
        """Projections for fusion (tokens where not kept) and as embeddings."""
        parts, embeddings, encoders, projections = [], {}, {}, {}
        for position, name in enumerate(names):
            # text streams share an encoder unless one has its own settings; features
            # come from an encoder elsewhere
            ready = f"{name}_features" in batch
            own = ready or name == IMAGE or name in self.config.text
            tower = name if own else "text"
            if tower not in projections:
                encoders[tower] = None if ready else self._encoder(name, tower)
                projections[tower] = Projection(
                    self.config.joint_width,
                    self.config.absent,
                    self._dtype,
                    self.config.joint_bias,
                    self.config.joint_start,
                    name=f"{tower}_joint",
                )
            feature = self._encode(encoders[tower], batch, name, training)
            embeddings[name], part = projections[tower](feature, kept[:, position])
            parts.append(part)
        return parts, embeddings

    def _encoder(self, name: str, tower: str) -> nn.Module:
        if tower in self.published:
            c = self.config[tower]
            return published_encoder(
                self.published[tower],
                dropout=c.dropout,
                pool=c.pool,
                dtype=self._dtype,
                name=tower,
            )
        if name == IMAGE:
            return image_tower(self.config.image, dtype=self._dtype, name=tower)
        return text_tower(
            self.config.text[name] if name in self.config.text else self.config.text,
            vocab_size=self.vocab_size,
            max_length=max(length for _, length in self.spec.lengths),
            dtype=self._dtype,
            name=tower,
        )

    def _encode(
        self, encoder: nn.Module | None, batch: Inputs, name: str, training: bool
    ) -> Float[Array, "B D"]:
        """Features of one modality; what is absent is zeroed before it can matter."""
        here = batch[f"has_{name}"]
        if f"{name}_features" in batch:
            feature = batch[f"{name}_features"]
            lift = (-1, *(1,) * (feature.ndim - 1))
            feature = jnp.where(here.reshape(lift), feature, 0.0)
            if feature.ndim == 2:
                return feature
            return masked_mean(feature, batch[f"{name}_mask"] & here[:, None])
        if name == IMAGE:
            pixels = jnp.where(here[:, None, None, None], batch[IMAGE][:, 0], 0)
            mean = jnp.array(self.config.image.mean).reshape(1, 1, 1, 3)
            std = jnp.array(self.config.image.std).reshape(1, 1, 1, 3)
            pixels = (pixels.astype(jnp.float32) / 255.0 - mean) / std
            weight = jnp.where(here, batch["weight"], 0.0)
            return encoder(pixels.astype(self._dtype), weight, training)
        mask = batch[f"{name}_mask"] & here[:, None]
        return encoder(jnp.where(mask, batch[f"{name}_ids"], 0), mask, training)

    def _scale(self) -> Float[Array, ""]:
        """1 / temperature; learned as its logarithm, clamped."""
        c = self.config.objective
        start = -jnp.log(jnp.float32(c.temperature))
        if not c.learn_temperature:
            return jnp.exp(start)
        log_scale = self.param("temperature", lambda key: start)
        return jnp.exp(jnp.minimum(log_scale, jnp.log(c.max_scale)))

    def _bias(self) -> Float[Array, ""] | None:
        """Of the sigmoid loss, learned."""
        c = self.config.objective
        if c.contrastive_kind != "sigmoid":
            return None
        start = jnp.float32(c.contrastive_bias)
        return self.param("contrastive_bias", lambda key: start)


def build_model(
    config,
    spec: BatchSpec,
    tree: Taxonomy,
    *,
    vocab_size: int,
    published: Mapping[str, Mapping] = MappingProxyType({}),
    labels: LabelFeatures | None = None,
) -> Model:
    """The model of a whole config.

    Args:
      published: tower ("text", "image") -> config.json of the published encoder that
        stands there; see `tower_configs`.
      labels: where model.head.labels names some.

    Raises:
      ValueError: a modality that the batches do not have, or no label features.
    """
    missing = set(config.model.modalities) - set(spec.modalities)
    if missing or not config.model.modalities:
        raise ValueError(
            f"model.modalities has {sorted(missing)}, the data has {spec.modalities}"
        )
    if bool(config.model.head.labels) != (labels is not None):
        raise ValueError("label features are given where model.head.labels names some")
    settings = config.model.copy_and_resolve_references()
    with settings.unlocked():
        settings.objective = config.objective  # scale and bias are parameters here
    module = ProductClassifier(
        FrozenConfigDict(settings), spec, tree, vocab_size, dict(published), labels
    )
    return _pure(module)


def _pure(module: nn.Module) -> Model:
    def init(key: jax.Array, batch: Inputs) -> tuple[dict, dict]:
        variables = dict(module.init({"params": key}, batch, training=False))
        return variables["params"], variables.get("stats", {})

    def apply(
        params: Mapping,
        stats: Mapping,
        batch: Inputs,
        *,
        dropout_key: jax.Array | None = None,
    ) -> tuple[Outputs, Mapping]:
        variables = {"params": params, **({"stats": stats} if stats else {})}
        if dropout_key is None:
            return module.apply(variables, batch, training=False), stats
        outputs, changed = module.apply(
            variables,
            batch,
            training=True,
            rngs={"dropout": dropout_key},
            mutable=["stats"],
        )
        return outputs, changed.get("stats", {})

    return Model(init, apply)
