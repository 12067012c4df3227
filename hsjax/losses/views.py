"""NT-Xent between two views of each picture (SimCLR)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hsjax.losses.pairs import exact_product, other_products


def nt_xent(
    views: Float[Array, "B 2 E"],
    *,
    group: Int[Array, "B"],
    weight: Float[Array, "B"],
    temperature: float,
) -> tuple[Float[Array, "B"], Float[Array, "B"]]:
    """Chen et al. 2020, eq. 1 (arxiv.org/abs/2002.05709), without duplicates.

    value of a view a = -log( exp(s_ab) / sum over c of exp(s_ac) ), s = a . b /
    temperature, with b the other view of the same picture and c over b and all views of
    other products; of an example it is the mean of both its views.

    Args:
      views: unit length.
      group: equal for one product listed twice, whose views are no negatives.
      weight: 0 for padding and where there is no picture: no negatives either.

    Returns:
      Value and weight per example, float32; 0 without any other product.
    """
    rows = len(views)
    first, second = views[:, 0], views[:, 1]
    z = jnp.concatenate([first, second])
    s = exact_product(z, z.T) / temperature
    negative = other_products(group, weight)
    apart = jnp.tile(negative, (2, 2))
    own = jnp.roll(jnp.eye(2 * rows, dtype=bool), rows, axis=1)
    own_pair = (first * second).sum(axis=1).astype(jnp.float32) / temperature
    value = jax.nn.logsumexp(s, axis=1, where=apart | own).reshape(2, rows)
    value = value.mean(axis=0) - own_pair
    return value, jnp.where(negative.any(axis=1), weight, 0.0)
