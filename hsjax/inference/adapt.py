"""A trained run moved to the statistics of another shop, without one label of it."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from hsjax.batch import BatchSpec
from hsjax.data.records import CatalogueError
from hsjax.evaluation.collect import on_host
from hsjax.inference.predict import Run, vocabulary
from hsjax.models.build import build_model
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
      CatalogueError: it has no cached features, or no batch norm.
    """
    if kind in OF_FEATURES and not run.spec.features:
        raise CatalogueError(
            f"--adapt={kind} moves cached features, and this run reads raw titles and"
            " pictures: train on features (data.features), or take --adapt=batch_norm"
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
        part, and are not asked for by `batch_norm`.
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
    """Of all the target's rows, whatever their order; nothing is dropped on the way."""
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
    size = vocabulary(run.tokenizer)
    still = build_model(config, run.spec, run.tree, vocab_size=size)

    @jax.jit
    def seen(batch):
        """Statistics of this batch alone, from what they would do to running ones."""
        _, after = still.apply(
            run.params, run.stats, batch, dropout_key=jax.random.key(0)
        )
        kept = BatchNorm.momentum

        def alone(new, old):
            return (new - kept * old) / (1 - kept)

        return jax.tree.map(alone, after, run.stats), batch["weight"].sum()

    total, sums = 0.0, None
    for batch in target:
        found, rows = jax.tree.map(on_host, seen(batch))
        total += float(rows)
        weighted = _moments(found, float(rows))
        sums = weighted if sums is None else jax.tree.map(np.add, sums, weighted)
    return _statistics(sums, total)


def _moments(stats: Mapping, rows: float) -> dict:
    """Sums of x and of x ** 2 in place of mean and variance, float64."""
    if "var" not in stats:
        return {name: _moments(of, rows) for name, of in stats.items()}
    mean, var = (stats[name].astype(np.float64) for name in ("mean", "var"))
    return {"mean": rows * mean, "var": rows * (var + mean**2)}


def _statistics(sums: Mapping, rows: float) -> dict:
    """The inverse of `_moments`, of so many rows."""
    if "var" not in sums:
        return {name: _statistics(of, rows) for name, of in sums.items()}
    mean = sums["mean"] / rows
    found = {"mean": mean, "var": np.maximum(sums["var"] / rows - mean**2, 0)}
    return {name: jnp.asarray(x, jnp.float32) for name, x in found.items()}
