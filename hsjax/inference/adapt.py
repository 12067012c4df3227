"""A trained run moved to the statistics of another shop, without one label of it."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from hsjax.batch import IMAGE, BatchSpec
from hsjax.data.records import CatalogueError
from hsjax.evaluation.collect import on_host
from hsjax.inference.predict import Run, vocabulary
from hsjax.models.build import Model, build_model
from hsjax.models.layers import BatchNorm

# what needs the products that the run has learnt from, and what does not
OF_FEATURES, OF_NORMS = ("mean", "coral"), ("batch_norm",)
ADAPTATIONS = (*OF_FEATURES, *OF_NORMS)
RIDGE = 0.1  # of the mean variance, added to every direction before it is inverted


class Moments(NamedTuple):
    """Of the vectors of a modality that are there."""

    count: float
    mean: Float[np.ndarray, "D"]
    covariance: Float[np.ndarray, "D D"]


def check_adaptation(run: Run, kind: str) -> None:
    """Can a run be adapted so?

    Raises:
      CatalogueError: a modality has no cached features, or nothing has a batch norm.
    """
    cached = {name for name, _ in run.spec.features}
    raw = [name for name in run.config.model.modalities if name not in cached]
    if kind in OF_FEATURES and raw:
        raise CatalogueError(
            f"--adapt={kind} moves cached features, and this run reads {', '.join(raw)}"
            " raw: train on features (data.features), or take --adapt=batch_norm"
        )
    if kind in OF_NORMS and not run.stats:
        raise CatalogueError(
            "--adapt=batch_norm takes the statistics of batch norms, and this run has"
            " none: model.head.norm=batch has"
        )


def adapted(run: Run, kind: str, target: Iterable, source: Iterable | None) -> Run:
    """The run as if the target's products had the statistics of the source's.

    `mean`: each modality's vectors are shifted so that both means agree. `coral`: they
    are whitened by the target's covariance and coloured by the source's (Sun et al.
    2016, arxiv.org/abs/1511.05547). `batch_norm`: the running statistics of batch norms
    become those of the target (Li et al. 2016, arxiv.org/abs/1603.04779).

    Args:
      target, source: batches of the run's own kind; the source's are of its training
        part, and are not asked for by `batch_norm`, which iterates over the target's
        anew as long as norms behind other norms move.
    """
    if kind in OF_NORMS:
        return run._replace(stats=_new_statistics(run, target))
    names = [name for name, _ in run.spec.features]
    theirs, ours = (moments(batches, run.spec) for batches in (target, source))
    moves = {m: _move(theirs[m], ours[m], full=kind == "coral") for m in names}

    @jax.jit
    def answer(params, stats, batch, **asked):
        return run.answer(params, stats, _moved(batch, moves), **asked)

    return run._replace(answer=answer)


def moments(batches: Iterable, spec: BatchSpec) -> dict[str, Moments]:
    """Of each modality on cached features; of token or patch states each counts."""
    sums: dict[str, list] = {}
    for batch in batches:
        found = jax.tree.map(on_host, dict(batch))
        real = found["weight"] > 0
        for name, _ in spec.features:
            here = real & found[f"has_{name}"]
            x = found[f"{name}_features"][here].astype(np.float64)
            if x.ndim == 3:
                x = x[found[f"{name}_mask"][here]]
            count, total, square = sums.get(name, [0, 0.0, 0.0])
            sums[name] = [count + len(x), total + x.sum(axis=0), square + x.T @ x]
    result = {}
    for name, (count, total, square) in sums.items():
        if count < 2:
            raise CatalogueError(
                f"--adapt: {count} products have {name}, too few for statistics"
            )
        mean = total / count
        covariance = (square - count * np.outer(mean, mean)) / (count - 1)
        result[name] = Moments(float(count), mean, covariance)
    return result


def _move(target: Moments, source: Moments, *, full: bool):
    """(mean of the target, matrix or None, mean of the source), float32."""
    matrix = None
    if full:
        matrix = _power(target.covariance, -0.5) @ _power(source.covariance, 0.5)
        matrix = jnp.asarray(matrix, jnp.float32)
    means = (jnp.asarray(x.mean, jnp.float32) for x in (target, source))
    theirs, ours = means
    return theirs, matrix, ours


def _power(covariance: np.ndarray, exponent: float) -> np.ndarray:
    """A power of a covariance that the ridge has made invertible."""
    ridge = RIDGE * np.trace(covariance) / len(covariance)
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 0) + ridge
    return (vectors * values**exponent) @ vectors.T


def _moved(batch: Mapping, moves: Mapping) -> dict:
    found = dict(batch)
    for name, (theirs, matrix, ours) in moves.items():
        x = found[f"{name}_features"]
        lift = (1,) * (x.ndim - 1)
        x = x - theirs.reshape(*lift, -1)
        x = x if matrix is None else x @ matrix
        found[f"{name}_features"] = x + ours.reshape(*lift, -1)
    return found


def _new_statistics(run: Run, target: Iterable) -> dict:
    """Of all the target's rows, whatever their order and the size of a batch.

    In an answer the norms before a norm have their new statistics, so its own can only
    be measured behind those. Hence several passes over the target, each with all norms
    held at what the one before has found: the first is right for norms with none
    before them, the next for those right behind them, and so on, until nothing moves.
    """
    seen = _measurement(run)
    old = jax.tree.map(on_host, run.stats)
    norms = len(jax.tree.leaves(old)) // 2  # each has a mean and a variance
    stats, found = old, None
    for _ in range(norms):  # at most, were each behind all the others
        last, found = found, []
        own = itertools.repeat(old) if last is None else (x for x, _ in last)
        for batch, alone in zip(target, own, strict=last is not None):
            found.append(jax.tree.map(on_host, seen(run.params, batch, stats, alone)))
        if last and jax.tree.all(jax.tree.map(np.array_equal, found, last)):
            break
        stats = {name: _pooled(found, name, old[name]) for name in old}
    return jax.tree.map(jnp.asarray, stats)


def _measurement(run: Run) -> Callable:
    """`seen(params, batch, stats, own)`: statistics of a batch alone, behind norms that
    are held at `stats`; and by part of the model, of how many rows they are.

    `own` are those that the pass before has found for this batch.
    """
    still = _without_dropout(run)

    @jax.jit
    def seen(params, batch, stats, own):
        held, zero = _held(params, stats, own), jax.tree.map(jnp.zeros_like, stats)
        _, after = still.apply(held, zero, batch, dropout_key=jax.random.key(0))
        # running statistics that start at zero are the batch's, times their rate
        alone = jax.tree.map(lambda x: x / (1 - BatchNorm.momentum), after)
        return alone, {name: _counted(batch, name) for name in stats}

    return seen


def _without_dropout(run: Run) -> Model:
    """The run's model, whose training differs from its answers by batch norms alone."""
    config = run.config.copy_and_resolve_references().unlock()
    model = config.model
    if model.head.labels or model.text.published or model.image.published:
        raise CatalogueError(
            "--adapt=batch_norm cannot rebuild label texts and published encoders:"
            " train on cached features"
        )
    model.modality_dropout, model.modality_dropout_image = 0.0, -1.0
    streams = [x for x in model.text.values() if isinstance(x, ConfigDict)]
    for group in (model.text, *streams, model.image, model.head):
        group.dropout = 0.0
    for group in (model.text, *streams):
        group.bag_dropout = 0.0
    return build_model(config, run.spec, run.tree, vocab_size=vocabulary(run.tokenizer))


def _held(params: Mapping, stats: Mapping, own: Mapping) -> dict:
    """Parameters by which training, which normalises by a batch's own statistics, has
    norms answer as they would by `stats`.
    """
    if "var" not in stats:
        below = {name: _held(params[name], stats[name], own[name]) for name in stats}
        return {**params, **below}
    gain = params["scale"] * jax.lax.rsqrt(stats["var"] + BatchNorm.eps)
    return {
        "scale": gain * jnp.sqrt(own["var"] + BatchNorm.eps),
        "bias": params["bias"] + gain * (own["mean"] - stats["mean"]),
    }


def _counted(batch: Mapping, name: str) -> Float[jax.Array, ""]:
    """How many rows norms count in a part of the model: in the tower of pictures those
    that have one.
    """
    weight = batch["weight"]
    if name == IMAGE:
        weight = jnp.where(batch["has_image"], weight, 0.0)
    return weight.sum()


def _pooled(found: Sequence, name: str, old: Mapping) -> Mapping:
    """Of all batches, for a part of the model; the old ones if no row was counted."""
    rows = np.array([counted[name] for _, counted in found], np.float64)
    if not rows.any():
        return old
    return _over_batches([alone[name] for alone, _ in found], rows / rows.sum())


def _over_batches(parts: Sequence[Mapping], share: Float[np.ndarray, "N"]) -> dict:
    """Means and variances of everything, from those of parts with a share each."""
    if "var" not in parts[0]:
        return {k: _over_batches([x[k] for x in parts], share) for k in parts[0]}
    means, variances = (np.stack([x[k] for x in parts]) for k in ("mean", "var"))
    mean = share @ means
    var = share @ (variances + (means - mean) ** 2)
    return {"mean": mean.astype(np.float32), "var": var.astype(np.float32)}
