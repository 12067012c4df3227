"""The gradient of a large batch, in the memory of a part of it.

A contrastive loss compares every row with every other, so a mean of the losses of parts
would be another loss: one with fewer negatives. GradCache (Gao et al. 2021,
https://arxiv.org/abs/2101.06983) keeps the loss of the whole batch. With the outputs
y_j = f(x_j; w) of the parts and L = L(y_1 .. y_m),

    dL/dw = sum over j of (dy_j/dw)^T g_j  with  g_j = dL/dy_j

so that (1) all y_j are found, no activation is kept, (2) L and g are those of the whole
batch, in its own order, and (3) each part is computed once more and pulled back. The
price is a second forward pass, and on several devices a sum of gradients over them for
each part; what is kept of the whole batch are inputs and outputs.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def split_rows(batch, parts: int):
    """(B, ...) -> (parts, B / parts, ...): part j has the rows j, j + parts, ...

    A batch lies in contiguous pieces on its devices. So every device cuts its own piece
    and has its share of every part; no row moves. And a part holds the same rows on any
    number of devices, hence the same draws of dropout and the same BatchNorm.

    >>> split_rows(jnp.arange(6), 2).tolist()
    [[0, 2, 4], [1, 3, 5]]
    """
    return jax.tree.map(
        lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1), batch
    )


def join_rows(outputs):
    """The inverse of `split_rows`: (parts, B / parts, ...) -> (B, ...).

    (parts,) -> (): outputs without rows (temperature, bias) are the same for all parts.
    The first one stands for them, so that their gradient is counted once.

    >>> join_rows(jnp.array([[0, 2, 4], [1, 3, 5]])).tolist()
    [0, 1, 2, 3, 4, 5]
    """

    def join(x):
        return x[0] if x.ndim == 1 else x.swapaxes(0, 1).reshape(-1, *x.shape[2:])

    return jax.tree.map(join, outputs)


def make_accumulated(apply: Callable, objective: Callable, parts: int) -> Callable:
    """`gradient(params, stats, batch, key) -> ((loss, (stats, metrics)), grads)`.

    Loss, metrics and gradient are those of the whole batch, up to rounding, as long as
    a row's output hangs on nothing but the row. BatchNorm breaks that: it normalises by
    the statistics of a part, and its running ones are moved by one part after the
    other. Dropout draws from a key per part, the same in both passes.

    Args:
      apply: of a model: (params, stats, batch, *, dropout_key) -> (outputs, stats).
      objective: (outputs, batch) -> (loss, metrics), of the whole batch.
      parts: of the batch, whose rows they divide on every device.
    """

    def gradient(params, stats, batch, key):
        rows, keys = split_rows(batch, parts), jax.random.split(key, parts)

        def forward(stats, part):
            rows, key = part
            outputs, stats = apply(params, stats, rows, dropout_key=key)
            return stats, outputs

        def backward(carry, part):
            stats, total = carry
            rows, key, wanted = part

            def again(params):
                return apply(params, stats, rows, dropout_key=key)

            _, pull_back, stats = jax.vjp(again, params, has_aux=True)
            (grads,) = pull_back(wanted)
            return (stats, jax.tree.map(jnp.add, total, grads)), None

        after, outputs = jax.lax.scan(forward, stats, (rows, keys))
        whole = jax.value_and_grad(
            lambda outputs: objective(join_rows(outputs), batch), has_aux=True
        )
        (loss, metrics), wanted = whole(outputs)
        start = stats, jax.tree.map(jnp.zeros_like, params)
        (_, grads), _ = jax.lax.scan(backward, start, (rows, keys, wanted))
        return (loss, (after, metrics)), grads

    return gradient
