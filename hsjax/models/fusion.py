"""From one part per modality to one vector per product; by name from `FUSIONS`."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
from ml_collections import FrozenConfigDict

from hsjax.batch import IMAGE
from hsjax.models.attention import attend
from hsjax.models.layers import LayerNorm, masked_mean

OPEN = 3.0  # bias of a gate at the start: sigmoid(3) = 0.95, nearly `concat`


class Part(NamedTuple):
    """What fusion sees of one modality; of an absent one, its token.

    Attributes:
      vector: (B, F).
      states, mask: (B, T, F) of tokens, patches or cells and (B, T), which of them
        count; None for a fusion that does not read them. An absent modality has one.
    """

    vector: Float[Array, "B F"]
    states: Float[Array, "B T F"] | None = None
    mask: Bool[Array, "B T"] | None = None


class _Fusion(nn.Module):
    """What all share: `model.fusion` of a config, and how parts are normalised.

    Called with the parts, their names, and which of them are there, (B, M). `by` says
    how one that attends does so, of `attention.ATTENTIONS`.
    """

    config: FrozenConfigDict
    dtype: jnp.dtype
    by: str = "auto"

    reads_states = False

    def _normalised(
        self, parts: Sequence[Part], names: Sequence[str]
    ) -> list[Float[Array, "B _"]]:
        """Vectors, each with a norm of its own, so that none drowns another (B2)."""
        if self.config.norm == "raw":
            return [part.vector for part in parts]
        pairs = zip(parts, names, strict=True)
        return [LayerNorm(name=f"{name}_norm")(part.vector) for part, name in pairs]

    def _states(self, part: Part, name: str) -> Float[Array, "B T F"]:
        if self.config.norm == "raw":
            return part.states
        return LayerNorm(name=f"{name}_states_norm")(part.states)

    def _layer(self, x: Float[Array, "*B _"], width: int, name: str):
        """Dense and ReLU, the MLP of Paper B's fusions."""
        return nn.relu(nn.Dense(width, dtype=self.dtype, name=name)(x)).astype(
            jnp.float32
        )

    def _joint(self, x: Float[Array, "B _"]) -> Float[Array, "B _"]:
        """Through one more MLP, where `joint` is not 0."""
        width = self.config.joint
        return self._layer(x, width, "joint_mlp") if width else x


class Concat(_Fusion):
    """Early fusion: the vectors side by side, (B, F) with F the sum of their widths."""

    @nn.compact
    def __call__(
        self, parts: Sequence[Part], names: Sequence[str], kept: Bool[Array, "B M"]
    ) -> Float[Array, "B _"]:
        return jnp.concatenate(self._normalised(parts, names), axis=-1)


class Gated(_Fusion):
    """Each vector times its gate, side by side.

    h_m = sigmoid(W_m [x_1, ..., x_M, presence] + b_m) * x_m, the gated multimodal unit
    (Arevalo et al. 2017, arxiv.org/abs/1702.01992) for any number of modalities, which
    stay side by side as in `concat`. Every gate sees all parts and which of them are
    there: a text that the picture contradicts can count for less than none at all.
    """

    @nn.compact
    def __call__(
        self, parts: Sequence[Part], names: Sequence[str], kept: Bool[Array, "B M"]
    ) -> Float[Array, "B _"]:
        vectors = self._normalised(parts, names)
        seen = jnp.concatenate([*vectors, kept.astype(jnp.float32)], axis=-1)
        gates = [
            nn.Dense(
                vector.shape[-1],
                kernel_init=nn.initializers.zeros,
                bias_init=nn.initializers.constant(OPEN),
                name=f"{name}_gate",
            )(seen)
            for vector, name in zip(vectors, names, strict=True)
        ]
        pairs = zip(gates, vectors, strict=True)
        return jnp.concatenate([nn.sigmoid(g) * x for g, x in pairs], axis=-1)


class Product(_Fusion):
    """Elementwise product of all vectors, which share a width (Kim et al. 2017).

    The low-rank form of bilinear pooling, arxiv.org/abs/1610.04325: what agrees is
    strengthened. With `norm` raw the vectors multiply as they are.
    """

    @nn.compact
    def __call__(
        self, parts: Sequence[Part], names: Sequence[str], kept: Bool[Array, "B M"]
    ) -> Float[Array, "B F"]:
        return functools.reduce(jnp.multiply, self._normalised(parts, names))


class Late(_Fusion):
    """Late fusion (Paper B, IV-B): an MLP with ReLU per modality, then side by side.

    `width` is that of each MLP; `joint` of one more behind them, 0 = none.
    """

    @nn.compact
    def __call__(
        self, parts: Sequence[Part], names: Sequence[str], kept: Bool[Array, "B M"]
    ) -> Float[Array, "B _"]:
        vectors, width = self._normalised(parts, names), self.config.width
        pairs = zip(vectors, names, strict=True)
        own = [self._layer(x, width, f"{name}_mlp") for x, name in pairs]
        return self._joint(jnp.concatenate(own, axis=-1))


class LateMax(_Fusion):
    """Late fusion that reads every token and cell: its MLP, then the largest of each.

    One word may decide, as a bag of words has it, where the mean of an encoder's
    tokens has all of them in equal shares (max-over-time pooling, Collobert et al.
    2011, arxiv.org/abs/1103.0398). `width` and `joint` are those of `late`, which this
    is where a modality is one vector.
    """

    reads_states = True

    @nn.compact
    def __call__(
        self, parts: Sequence[Part], names: Sequence[str], kept: Bool[Array, "B M"]
    ) -> Float[Array, "B _"]:
        own = []
        for part, name in zip(parts, names, strict=True):
            x = self._layer(self._states(part, name), self.config.width, f"{name}_mlp")
            # after ReLU nothing is below the 0 of what does not count
            own.append(jnp.where(part.mask[:, :, None], x, 0).max(axis=1))
        return self._joint(jnp.concatenate(own, axis=-1))


class Attention(_Fusion):
    """Every text stream looks at the picture (Paper B, IV-B: brand-image, title-image).

    Tokens of a text ask, patches or cells of the picture answer; the mean of what the
    tokens find stands beside the vectors of all modalities, and an MLP with ReLU of
    `width` follows, then one of `joint`, 0 = none. Where a picture is one vector, as
    the paper has it, there is one key: its weight is 1 whatever is asked, and what is
    found does not depend on the text (B20).
    """

    reads_states = True

    @nn.compact
    def __call__(
        self, parts: Sequence[Part], names: Sequence[str], kept: Bool[Array, "B M"]
    ) -> Float[Array, "B _"]:
        vectors = self._normalised(parts, names)
        seen = parts[list(names).index(IMAGE)]
        keys = self._states(seen, IMAGE)
        found = [
            self._attended(self._states(part, name), part.mask, keys, seen.mask, name)
            for part, name in zip(parts, names, strict=True)
            if name != IMAGE
        ]
        fused = jnp.concatenate([*vectors, *found], axis=-1)
        return self._joint(self._layer(fused, self.config.width, "mlp"))

    def _attended(self, queries, query_mask, keys, key_mask, name: str):
        """(B, F): what the tokens of one text find in the picture, on average."""
        heads, width = self.config.heads, keys.shape[-1]
        inner = -(-width // heads) * heads  # as wide as the cells, or just wider
        q, k, v = (
            nn.Dense(inner, dtype=self.dtype, name=f"{name}_{part}")(x)
            for part, x in (("query", queries), ("key", keys), ("value", keys))
        )
        q, k, v = (x.reshape(*x.shape[:2], heads, -1) for x in (q, k, v))
        y = attend(q, k, v, key_mask, by=self.by)
        y = y.reshape(*queries.shape[:2], inner)
        return masked_mean(
            nn.Dense(width, dtype=self.dtype, name=f"{name}_found")(y), query_mask
        )


FUSIONS = {
    "concat": Concat,
    "gated": Gated,
    "product": Product,
    "late": Late,
    "late_max": LateMax,
    "attention": Attention,
}
