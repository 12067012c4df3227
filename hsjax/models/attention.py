"""Attention of several heads, by XLA or by cuDNN's fused kernels."""

import contextlib
import re
from collections.abc import Iterator
from contextvars import ContextVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Shaped

ATTENTIONS = ("auto", "xla", "cudnn")
HALVES = (jnp.bfloat16, jnp.float16)
WIDEST = 128  # of a head that cuDNN takes on every GPU
_ANYWHERE = ContextVar("anywhere", default=False)


@contextlib.contextmanager
def for_any_device() -> Iterator[None]:
    """What is traced inside runs on other machines, too: by XLA alone."""
    token = _ANYWHERE.set(True)
    try:
        yield
    finally:
        _ANYWHERE.reset(token)


def attend(
    q: Shaped[Array, "B Q heads D"],
    k: Shaped[Array, "B T heads D"],
    v: Shaped[Array, "B T heads D"],
    mask: Bool[Array, "B T"] | None = None,
    *,
    causal: bool = False,
    by: str = "auto",
) -> Shaped[Array, "B Q heads D"]:
    """softmax(q k^T / sqrt(D)) v of each head, the softmax in float32.

    Args:
      mask: keys that count; a row without any gives what nobody may read.
      causal: a query sees itself and what is before it.
      by: of ATTENTIONS; see `implementation`.
    """
    by = implementation(by, q, k, masked=mask is not None)
    if mask is not None:
        mask = mask[:, None, None, :]
        if by == "cudnn":  # it broadcasts over heads alone
            mask = jnp.broadcast_to(mask, (len(q), 1, q.shape[1], k.shape[1]))
    # masked attention of jax mixes dtypes in bfloat16; so does its gradient, which is
    # traced outside and needs this round the whole program
    with jax.numpy_dtype_promotion("standard"):
        return jax.nn.dot_product_attention(
            q, k, v, mask=mask, is_causal=causal, implementation=by
        )


def implementation(
    asked: str,
    q: Shaped[Array, "B Q heads D"],
    k: Shaped[Array, "B T heads D"],
    *,
    masked: bool,
) -> str:
    """xla or cudnn. Both are the same mathematics, so that a model which was trained by
    one answers by the other: without a GPU it is xla whatever was asked.

    `auto` is cudnn for what it is sure to take: half precision, heads of a multiple of
    8 and at most 128 numbers, with a mask an even number of queries and of keys, on a
    GPU of NVIDIA's from Ampere on.
    """
    if asked not in ATTENTIONS:
        raise ValueError(f"attention is {asked!r}; known: {', '.join(ATTENTIONS)}")
    if asked == "xla" or _ANYWHERE.get() or jax.default_backend() != "gpu":
        return "xla"
    width, even = q.shape[-1], not (q.shape[1] % 2 or k.shape[1] % 2)
    half = all(x.dtype in HALVES for x in (q, k))
    fits = (
        _is_ampere()
        and half
        and width % 8 == 0
        and width <= WIDEST
        and (even or not masked)
    )
    return "cudnn" if fits or asked == "cudnn" else "xla"


def _is_ampere() -> bool:
    """Is the first device an NVIDIA GPU of compute capability 8.0 or more?"""
    told = str(getattr(jax.local_devices()[0], "compute_capability", ""))
    return bool(re.fullmatch(r"\d+\.\d+", told)) and float(told) >= 8.0
