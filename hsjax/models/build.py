"""A model from a config: two pure functions."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
from ml_collections import FrozenConfigDict

from hsjax.batch import IMAGE, BatchSpec
from hsjax.models.fusion import FUSIONS, Part
from hsjax.models.head import HEADS
from hsjax.models.joint import (
    Projection,
    StandIn,
    ViewHead,
    mean_embedding,
    unit_length,
    with_dropout,
)
from hsjax.models.label_tower import LabelFeatures
from hsjax.models.model_flops import forward_flops
from hsjax.models.towers import Inputs, Towers, as_states, pooled
from hsjax.taxonomy import Taxonomy


class Outputs(NamedTuple):
    """What a model says of a batch.

    Attributes:
      logits: (B, C) per level, raw, in slot order.
      text, image: (B, E) unit length, None without that modality or its projection.
        Where it is absent, text is zero and image is that of a black picture.
      fused: (B, F).
      scale: () 1 / temperature of the contrastive loss.
      bias: () of the sigmoid loss, None with another.
      views: (B, V, E) unit length, of every view of a picture where a loss reads them.
    """

    logits: tuple[Float[Array, "B _"], ...]
    text: Float[Array, "B E"] | None
    image: Float[Array, "B E"] | None
    fused: Float[Array, "B F"]
    scale: Float[Array, ""]
    bias: Float[Array, ""] | None = None
    views: Float[Array, "B V E"] | None = None


class Model(NamedTuple):
    """Two pure functions, and what one of them costs.

    init(key, batch) -> (params, stats)
    apply(params, stats, batch, *, dropout_key=None) -> (Outputs, stats)
    flops(spec, rows) -> {part: operations of `apply`}, see `forward_flops`

    A dropout key means training; without one the answer is deterministic. `stats` holds
    BatchNorm statistics and is an empty dict where there is no BatchNorm.
    """

    init: Callable
    apply: Callable
    flops: Callable | None = None


class ProductClassifier(Towers):
    """Encoders -> projections -> fusion -> head."""

    tree: Taxonomy
    labels: LabelFeatures | None

    @nn.compact
    def __call__(self, batch: Inputs, training: bool) -> Outputs:
        names, c = tuple(self.config.modalities), self.config
        present = jnp.stack([batch[f"has_{m}"] for m in names], axis=1)  # (B, M)
        kept, key = present, lambda: self.make_rng("dropout")
        if training:
            kept = with_dropout(c, names, present, key)
        fuse = FUSIONS[c.fusion.kind](c.fusion, self._dtype, c.attention, name="fusion")
        parts, embeddings, views = self._modalities(
            batch, kept, training, fuse.reads_states
        )
        texts = [m for m in names if m != IMAGE and m in embeddings]
        told = [embeddings[m] for m in texts], [batch[f"has_{m}"] for m in texts]
        text = mean_embedding(*told) if texts else None
        fused = fuse(parts, names, kept)
        head = HEADS[c.head.kind](
            self.tree, c.head, self._dtype, self.labels, name="head"
        )
        logits = head(fused, batch["weight"], training)
        image = unit_length(embeddings[IMAGE]) if IMAGE in embeddings else None
        scale, bias = self._scale(), self._bias()
        return Outputs(logits, text, image, fused, scale, bias, views)

    def _modalities(
        self, batch: Inputs, kept: Bool[Array, "B M"], training: bool, states: bool
    ) -> tuple[list[Part], dict[str, Float[Array, "B E"]], jax.Array | None]:
        """Parts for fusion (tokens where not kept), embeddings in one space, views."""
        parts, embeddings, encoders, modules, views = [], {}, {}, {}, None
        for position, name in enumerate(self.config.modalities):
            # text streams share an encoder unless one has its own settings; features
            # come from an encoder elsewhere
            ready = f"{name}_features" in batch
            own = ready or name == IMAGE or name in self.config.text
            tower = name if own else "text"
            if tower not in modules:
                encoder = None if ready else self._encoder(name, tower, states=states)
                encoders[tower], modules[tower] = encoder, self._projection(tower)
            feature, mask, seen = self._encode(encoders[tower], batch, name, training)
            views = seen if seen is not None else views
            if not states:
                feature, mask = pooled(feature, mask), None
            here = kept[:, position]
            embedding, stand_in = modules[tower](feature, here)
            if embedding is not None:
                embeddings[name] = pooled(embedding, mask)
            own_states = as_states(stand_in, mask, here) if states else (None, None)
            vector = pooled(*own_states) if states else stand_in
            parts.append(Part(vector, *own_states))
        if views is not None:
            views = ViewHead(self.config.view_width, self._dtype, name="views")(views)
        return parts, embeddings, views

    def _projection(self, tower: str) -> Callable:
        """(features, kept) -> (embeddings or None, what fusion sees).

        Fusion of features sees no projection, and without a contrastive loss there is
        none: its space would stay random.
        """
        c, features = self.config, self.config.fusion.of == "feature"
        project = Projection(
            *(c.joint_width, c.absent, self._dtype, c.joint_bias, c.joint_start),
            name=f"{tower}_joint",
        )
        if not features:
            return project
        stand_in = StandIn(c.absent, name=f"{tower}_absent")
        if not c.objective.contrastive:
            return lambda feature, kept: (None, stand_in(feature, kept))
        return lambda feature, kept: (
            project(feature, None)[0],
            stand_in(feature, kept),
        )

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
        FrozenConfigDict(settings),
        spec,
        vocab_size,
        dict(published),
        tree=tree,
        labels=labels,
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

    return Model(init, apply, functools.partial(forward_flops, module))
