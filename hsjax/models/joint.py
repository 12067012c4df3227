"""Projections into one space (Paper A, eq. 5), and what stands for absence."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hsjax.batch import IMAGE
from hsjax.models.layers import TOKEN_INIT


def identity(key: jax.Array, shape: tuple[int, int], dtype) -> Float[Array, "D E"]:
    """A kernel that lets through what fits."""
    del key
    return jnp.eye(*shape, dtype=dtype)


STARTS = {"random": nn.linear.default_kernel_init, "identity": identity}


def unit_length(x: Float[Array, "B *V E"]) -> Float[Array, "B *V E"]:
    """x / |x|, with a finite gradient at 0."""
    return x * jax.lax.rsqrt(
        jnp.maximum(jnp.square(x).sum(axis=-1, keepdims=True), 1e-12)
    )


class Projection(nn.Module):
    """h = W z for what is present, h = W token for what is not; (B, D) -> (B, E).

    The learned token replaces the *feature*, so an absent modality's content cannot
    matter. With `zeros` the feature is literally zero. W is random at the start, or
    `identity`: a published encoder's own space, from which training moves away. Of
    token or patch states (B, T, D) each is projected, and replaced.
    """

    width: int
    absent: str
    dtype: jnp.dtype
    bias: bool = True
    start: str = "random"

    @nn.compact
    def __call__(
        self, feature: Float[Array, "B *T D"], kept: Bool[Array, "B"] | None
    ) -> tuple[Float[Array, "B *T E"], Float[Array, "B *T E"]]:
        """Returns W z, and the same with the token where a modality is not kept.

        Args:
          kept: None = nobody asks for what stands in.
        """
        if kept is not None:
            token = absent_token(self, self.absent, feature.shape[-1])
        project = nn.Dense(
            self.width,
            use_bias=self.bias,
            dtype=self.dtype,
            kernel_init=STARTS[self.start],
            name="projection",
        )
        # The token is no row of the batch: B + 1 rows are uneven over the devices.
        present = project(feature).astype(jnp.float32)
        if kept is None:
            return present, present
        stand_in = project(token[None]).astype(jnp.float32)
        return present, replaced(present, kept, stand_in)


class StandIn(nn.Module):
    """The feature itself where it is there, its token where not: no projection."""

    absent: str

    @nn.compact
    def __call__(
        self, feature: Float[Array, "B *T D"], kept: Bool[Array, "B"]
    ) -> Float[Array, "B *T D"]:
        token = absent_token(self, self.absent, feature.shape[-1])
        return replaced(feature.astype(jnp.float32), kept, token[None])


def absent_token(module: nn.Module, kind: str, width: int) -> Float[Array, "D"]:
    """What a module puts in place of a feature: learned, or literally zeros."""
    if kind == "token":
        return module.param("absent_token", TOKEN_INIT, (width,))
    return jnp.zeros(width)


def replaced(
    x: Float[Array, "B *T E"], kept: Bool[Array, "B"], token: Float[Array, "1 E"]
) -> Float[Array, "B *T E"]:
    """Every vector of a row that is not kept is the token."""
    lift = (1,) * (x.ndim - 1)
    return jnp.where(kept.reshape(-1, *lift), x, token.reshape(*lift, -1))


def with_dropout(
    config,
    names: Sequence[str],
    present: Bool[Array, "B M"],
    key: Callable[[], jax.Array],
) -> Bool[Array, "B M"]:
    """Which modalities fusion sees in training: pictures may have a share of their own.

    Args:
      key: asked for only where something may be dropped.
    """
    text, image = config.modality_dropout, config.modality_dropout_image
    image = text if image < 0 else image
    shares = tuple(image if name == IMAGE else text for name in names)
    if len(names) == 1 or not any(shares):
        return present
    return drop_modalities(present, shares, key())


def drop_modalities(
    present: Bool[Array, "B M"], shares: Sequence[float], key: jax.Array
) -> Bool[Array, "B M"]:
    """`present`, modality m with probability `shares[m]` made absent, never the last.

    Where all would be gone, each of those present stays with the same probability.
    """
    share = jnp.array(shares, jnp.float32)[None]
    draw = jnp.where(present, jax.random.uniform(key, present.shape), -1.0)
    # of those that go, draws are uniform below the share: relative to it, all are alike
    luck = draw / jnp.maximum(share, jnp.finfo(jnp.float32).tiny)
    luckiest = luck == luck.max(axis=1, keepdims=True)
    return present & ((draw >= share) | luckiest)


class ViewHead(nn.Module):
    """SimCLR's projection head, an MLP: features of views -> unit vectors."""

    width: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "B V D"]) -> Float[Array, "B V E"]:
        x = nn.relu(nn.Dense(x.shape[-1], dtype=self.dtype, name="hidden")(x))
        x = nn.Dense(self.width, dtype=self.dtype, name="out")(x)
        return unit_length(x.astype(jnp.float32))


def mean_embedding(
    embeddings: list[Float[Array, "B E"]], present: list[Bool[Array, "B"]]
) -> Float[Array, "B E"]:
    """Unit-length mean of the present, unit-length embeddings of text streams."""
    total = jnp.zeros_like(embeddings[0])
    for embedding, here in zip(embeddings, present, strict=True):
        total += jnp.where(here[:, None], unit_length(embedding), 0.0)
    return unit_length(total)
