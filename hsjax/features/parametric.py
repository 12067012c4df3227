"""A parametric classifier of known and new classes on frozen features (SimGCD).

Wen et al., ICCV 2023 (https://arxiv.org/abs/2211.11727, section 4), without training of
the backbone: what is left are cosine prototypes c_1..c_K, K = known + new, over a
feature h. With s = softmax(cos(h, c_k) / tau) of a view of row i at tau_s, and s' of
its other view at the sharper tau_t, through which no gradient flows:

    unsupervised = mean_i -sum_k s'_ik log s_ik  -  epsilon H(mean_i s_i)
    supervised   = mean over labelled i of -log s_i,y
    loss         = (1 - lambda) unsupervised + lambda supervised

each over both views. The entropy H of the mean answer keeps all prototypes in use. It
asks for clusters of equal size, which is wrong of a catalogue with a long tail.

Departures from the paper. Views are feature dropout and noise, as there is no picture
to crop; a dropout of 0.5 was the best of 0, 0.2, 0.5 and 0.7 on 7,000 titles of Myntra.
Features are centred first: those of published encoders share a common part, beside
which all cosines are near 1. The contrastive losses are left out: they train the
backbone. The last step is the answer, as in the paper's code: a step chosen by its
accuracy on known classes would be chosen against the new ones.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Integer

from hsjax.features.kmeans import known_classes
from hsjax.features.row_blocks import dot

BATCH = 512  # rows a step, one half of them labelled
TINY = 1e-20


class Options(NamedTuple):
    """Of SimGCD, named as in the paper where it has a letter.

    Attributes:
      temperature: tau_s, of answers.
      target: tau_t at the start and, after the first `warmup` of all steps, from then
        on; between them it falls by a cosine.
      supervised: lambda.
      entropy: epsilon; the paper's code has 1 to 4, by the data set.
      dropout: share of a view's numbers that are 0.
      noise: length of what is added to a view, beside features of length 1.
      steps, rate, momentum: of SGD; the rate falls to a thousandth by a cosine.
    """

    temperature: float = 0.1
    target: tuple[float, float] = (0.07, 0.04)
    warmup: float = 0.15
    supervised: float = 0.35
    entropy: float = 1.0
    dropout: float = 0.5
    noise: float = 0.0
    steps: int = 1000
    rate: float = 0.1
    momentum: float = 0.9


class Discovered(NamedTuple):
    """What became of the rows.

    Attributes:
      assignment: (N,) int32 the likeliest class, also of rows that have a label;
        0..known-1 are the known classes.
      confidence: (N,) its probability at tau_s.
      mean: (D,) of the rows; prototypes: (K, D) of length 1. The class of a row x is
        that of the greatest cosine with x - mean.
      losses: (steps,).
    """

    assignment: Integer[np.ndarray, "N"]
    confidence: Float[np.ndarray, "N"]
    mean: Float[np.ndarray, "D"]
    prototypes: Float[np.ndarray, "K D"]
    losses: Float[np.ndarray, "steps"]


def discover(
    x: Float[np.ndarray | Array, "N D"],
    labels: Integer[np.ndarray, "N"],
    clusters: int,
    *,
    seed: int = 0,
    batch: int = BATCH,
    options: Options | None = None,
) -> Discovered:
    """Classes of all rows, of which some have a known one.

    Args:
      labels: known classes 0, 1, ..., -1 where none is known.
      clusters: K, known and new together.

    Raises:
      ValueError: no row with a label or none without, what `known_classes` refuses, or
        values that are not finite.
    """
    options = options or Options()
    labels, x = np.int32(labels), jnp.asarray(x, jnp.float32)
    shown, rest = np.flatnonzero(labels >= 0), np.flatnonzero(labels < 0)
    if not len(shown) or not len(rest):
        raise ValueError(f"{len(shown)} rows with a class, {len(rest)} without")
    known_classes(labels, clusters)
    mean = x.mean(axis=0)
    x = unit(x - mean[None])
    first, second = jax.random.split(jax.random.key(seed))
    start = unit(jax.random.normal(first, (clusters, x.shape[1])))
    rows = jnp.asarray(shown), jnp.asarray(rest), jnp.asarray(labels)
    prototypes, losses = _train(start, x, *rows, second, options=options, batch=batch)
    if not np.isfinite(losses).all():
        raise ValueError("the loss is not finite: are all values?")
    answers = _answers(prototypes, x, options.temperature)
    return Discovered(*map(np.asarray, (*answers, mean, unit(prototypes), losses)))


def unit(x: Float[Array, "*rows D"]) -> Float[Array, "*rows D"]:
    """Rows of length 1; a row of zeros stays."""
    squared = (x**2).sum(axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(squared, TINY))


def cosines(
    prototypes: Float[Array, "K D"], z: Float[Array, "*rows D"]
) -> Float[Array, "*rows K"]:
    """Of each row with each prototype; neither needs to be of length 1."""
    return dot(unit(z), unit(prototypes).T)


def simgcd_loss(
    cosine: Float[Array, "2 B K"],
    labels: Integer[Array, "B"],
    target: Float[Array, ""],
    options: Options,
) -> Float[Array, ""]:
    """The loss of the module's docstring, of two views; label -1 = none.

    Args:
      target: tau_t at this step.
    """
    log_probs = jax.nn.log_softmax(cosine / options.temperature)
    teacher = jax.lax.stop_gradient(jax.nn.softmax(cosine / target))
    distilled = -(teacher[::-1] * log_probs).sum(axis=-1).mean()
    mean = jnp.exp(log_probs).mean(axis=(0, 1))
    entropy = -(mean * jnp.log(mean + TINY)).sum()
    unsupervised = distilled - options.entropy * entropy
    right = jax.nn.one_hot(labels, cosine.shape[-1])  # (B, K), 0 without a label
    rows = jnp.maximum(2 * right.sum(), 1.0)
    supervised = -(right[None] * log_probs).sum() / rows
    weight = options.supervised
    return (1 - weight) * unsupervised + weight * supervised


@partial(jax.jit, static_argnames=("options", "batch"))
def _train(prototypes, x, shown, rest, labels, key, *, options: Options, batch: int):
    """Prototypes after all steps, and the loss of each."""
    rate = optax.cosine_decay_schedule(options.rate, options.steps, alpha=1e-3)
    optimizer = optax.sgd(rate, options.momentum)

    def step(state, number):
        prototypes, moments = state
        first, second, third = jax.random.split(jax.random.fold_in(key, number), 3)
        halves = zip((first, second), (shown, rest), strict=True)
        rows = jnp.concatenate([_pick(k, some, batch // 2) for k, some in halves])
        views = two_views(third, x[rows], options)
        target = target_temperature(number, options)

        def objective(prototypes):
            cosine = cosines(prototypes, views)
            return simgcd_loss(cosine, labels[rows], target, options)

        loss, grads = jax.value_and_grad(objective)(prototypes)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
            updates, moments = optimizer.update(grads, moments)
            prototypes = optax.apply_updates(prototypes, updates)
        return (prototypes, moments), loss

    state = prototypes, optimizer.init(prototypes)
    (prototypes, _), losses = jax.lax.scan(step, state, jnp.arange(options.steps))
    return prototypes, losses


def _pick(key, rows: Integer[Array, "N"], count: int) -> Integer[Array, "count"]:
    """With replacement: half of a batch may be more than all labelled rows."""
    return rows[jax.random.randint(key, (count,), 0, len(rows))]


def two_views(key, x: Float[Array, "B D"], options: Options) -> Float[Array, "2 B D"]:
    """Of each row two, with some of its numbers dropped and noise added."""
    first, second = jax.random.split(key)
    shape = 2, *x.shape
    kept = jax.random.bernoulli(first, 1.0 - options.dropout, shape)
    noise = jax.random.normal(second, shape) * (options.noise / np.sqrt(x.shape[1]))
    return jnp.where(kept, x[None], 0.0) + noise.astype(jnp.float32)


def target_temperature(
    number: Integer[Array, ""], options: Options
) -> Float[Array, ""]:
    """tau_t of a step, counted from 0."""
    start, end = options.target
    done = number.astype(jnp.float32) / max(1.0, options.warmup * options.steps)
    wave = jnp.cos(jnp.pi * jnp.minimum(done, 1.0))
    return end + (start - end) * (1 + wave) / 2


@jax.jit
def _answers(prototypes, x, temperature):
    probs = jax.nn.softmax(cosines(prototypes, x) / temperature)  # (N, K)
    return jnp.argmax(probs, axis=1).astype(jnp.int32), probs.max(axis=1)
