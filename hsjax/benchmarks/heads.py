"""What `bench heads` measures: our heads on cached features against HiClass's.

The peer is a local classifier per parent node, logistic regression on the same vectors,
standardised and side by side (Miranda et al. 2023, hiclass). Both learn from the same
training rows and answer the same rows of `eval.parts`. The peer has its vectors in
memory before the clock starts; ours takes them from the stores, batch by batch, as a
run does.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Integer, Shaped

from hsjax.baselines.fitting import path_predictions
from hsjax.data.batches import evaluation_batches
from hsjax.data.features import features_of
from hsjax.data.prepare import Catalogue, read_catalogue
from hsjax.data.stored_records import selected
from hsjax.decodes import DECODES
from hsjax.evaluation.metrics import score
from hsjax.sharding import place_batch
from hsjax.timing import headline, times_faster
from hsjax.train.devices import set_up_jax, training_mesh
from hsjax.train.objective import make_objective
from hsjax.train.start import (
    empty_running,
    initial_state,
    total_steps,
    training_order,
    training_step,
)
from hsjax.train.workdir import ConfigError
from hsjax.trained.opening import model_of, resolved
from hsjax.trained.training_data import examples_at, scored_rows
from hsjax.tree.node_codes import node_codes

ITERATIONS = 1000  # of the peer's solver, at most


class Side(NamedTuple):
    """One of both: `fit()`, then `predict() -> (N, L)` node codes, '' = none."""

    fit: Callable
    predict: Callable


def bench_heads(config, *, rows: int, rounds: int, jobs: int = 1) -> dict:
    """Seconds to fit and to answer, hF1 and accuracy of both, and the ratios.

    Of ours and the peer: fits a second; `ratio`: of the fits, above 1 = ours is faster,
    and likewise `times_faster` of fit and predict; `spread`: of the rounds' ratios.

    Args:
      config: of a run on feature stores alone.
      rows: training rows, the first of a fixed order; 0 = all.
      jobs: processes of the peer's fits, one node's classifier each.

    Raises:
      ConfigError: HiClass is not installed, or a modality is raw.
      CatalogueError: whatever a user can mend, in words.
    """
    _check_features(config)
    hiclass = _peer()
    config, encoders = resolved(config)
    set_up_jax(config)
    catalogue = read_catalogue(config)
    train, test = catalogue.rows("train"), scored_rows(config, catalogue)
    order = np.random.default_rng(0).permutation(len(train))[: rows or None]
    train = train[np.sort(order)]
    start = time.perf_counter()
    ours = our_side(config, catalogue, encoders, train, test)
    ours.fit()
    ours.predict()
    first = time.perf_counter() - start
    peer = hiclass_side(config, catalogue, train, test, hiclass, jobs=jobs)
    fit = times_faster(ours.fit, peer.fit, rounds=rounds)
    answer = times_faster(ours.predict, peer.predict, rounds=rounds)
    peer_is = f"hiclass {hiclass.__version__}, a classifier per parent node"
    return {
        **headline("heads", 1, fit, peer_is=peer_is),
        "training_rows": len(train),
        "test_rows": len(test),
        "features": int(stacked(config, catalogue, test[:1]).shape[1]),
        "peer_jobs": jobs,
        "ours_first_seconds": first,  # compilation included
        "fit": fit,
        "predict": answer,
        "scores": {
            "ours": scores_of(catalogue, test, ours.predict()),
            "peer": scores_of(catalogue, test, peer.predict()),
        },
    }


def _peer():
    """The module; ConfigError: it is not installed."""
    try:
        import hiclass
    except ImportError:
        raise ConfigError(
            "bench heads compares with HiClass, which is not installed: pip install"
            " hiclass"
        ) from None
    return hiclass


def _check_features(config) -> None:
    if config.eval.decode not in DECODES:
        known = ", ".join(DECODES)
        raise ConfigError(
            f"eval.decode is {config.eval.decode!r}, which HiClass has no like of; for"
            f" this comparison take one of {known}"
        )
    raw = [m for m in config.model.modalities if not config.data.features.get(m)]
    if raw:
        raise ConfigError(
            f"bench heads is of heads on cached features, and {raw[0]} is raw: name"
            f" its store in data.features.{raw[0]}"
        )


def our_side(config, catalogue: Catalogue, encoders, train, test) -> Side:
    """The heads of a config, all its steps, without validation or checkpoints."""
    mesh = training_mesh(config)
    model = model_of(config, catalogue, encoders)
    examples = examples_at(config, catalogue, train)
    steps = total_steps(config, len(train))
    objective = make_objective(
        config.objective,
        catalogue.tree,
        tuple(config.model.modalities),
        train_labels=catalogue.labels[train],
        mesh=mesh,
    )
    held = {}
    state, shardings, optimizer = initial_state(
        config, model, catalogue.spec, mesh, steps=steps
    )
    start = jax.device_get(state)  # a step gives its state away
    step = training_step(config, model, objective, optimizer, shardings, mesh)
    decode = DECODES[config.eval.decode]

    @jax.jit
    def answer(params, stats, batch):
        outputs, _ = model.apply(params, stats, batch)
        return decode(outputs.logits, catalogue.tree)

    def fit() -> None:
        state = jax.device_put(start, shardings)
        running, batches = empty_running(config, mesh), training_order(config, examples)
        for number in range(steps):
            batch = place_batch(batches[number], mesh)
            state, running = step(state, running, batch)
        held["state"] = jax.block_until_ready(state)

    scored, size = examples_at(config, catalogue, test), config.eval.batch_size

    def predict() -> Shaped[np.ndarray, "N L"]:
        params, stats = held["state"].evaluated
        batches = evaluation_batches(scored, batch_size=size)
        # fetched at the end: the next batch is made while this one is answered
        found = [
            answer(params, stats, place_batch(batches[k], mesh))
            for k in range(len(batches))
        ]
        labels = np.concatenate(jax.device_get(found))[: len(test)]
        return node_codes(catalogue.tree, labels)

    return Side(fit, predict)


def hiclass_side(config, catalogue: Catalogue, train, test, hiclass, *, jobs) -> Side:
    """HiClass on the same vectors, standardised by the training rows."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    x, unseen = (stacked(config, catalogue, rows) for rows in (train, test))
    y = node_codes(catalogue.tree, catalogue.labels[train])
    held = {}

    def fit() -> None:
        model = hiclass.LocalClassifierPerParentNode(
            local_classifier=LogisticRegression(max_iter=ITERATIONS), n_jobs=jobs
        )
        scaler = StandardScaler()
        held["model"] = model.fit(scaler.fit_transform(x), y)
        held["scaler"] = scaler

    def predict() -> Shaped[np.ndarray, "N L"]:
        found = held["model"].predict(held["scaler"].transform(unseen))
        return np.array(found, object).reshape(len(test), -1)

    return Side(fit, predict)


def stacked(config, catalogue: Catalogue, rows) -> Float[np.ndarray, "N F"]:
    """Vectors of all modalities side by side, zeros where one is absent."""
    found = features_of(config, selected(catalogue.records, rows))
    every = np.arange(len(rows))
    parts = []
    for name in config.model.modalities:
        x = found[name].take(every)
        if x.ndim == 3:  # the mean of what is a token or a cell, as our side takes it
            mask = found[name].masks(every)[:, :, None]
            x = (x * mask).sum(axis=1) / np.maximum(mask.sum(axis=1), 1)
        parts.append(x)
    return np.concatenate(parts, axis=1)


def scores_of(
    catalogue: Catalogue,
    test: Integer[np.ndarray, "N"],
    answer: Shaped[np.ndarray, "N L"],
) -> dict:
    """hF1 and the share of whole paths that are right, as a report has them.

    Args:
      test: (N,) positions of the records that are answered, in node codes.
    """
    size, levels = answer.shape
    unknown = np.zeros((size, levels, 0))  # neither side is asked how sure it is
    predictions = path_predictions(
        selected(catalogue.records, test),
        catalogue.tree,
        {
            "decoded": {"answer": answer},
            "valid": {"answer": np.ones(size, bool)},
            "prob": np.zeros((size, levels), np.float32),
            "log_prob": np.zeros(size, np.float32),
            "topk_codes": unknown[:, 0],
            "topk_probs": unknown[:, 0],
            "level_topk": unknown,
        },
        groups=catalogue.groups[test],
        present={},
    )
    found = score(predictions, bootstrap=0)
    names = ("hierarchical/f1", "path/accuracy")
    return {name.replace("/", "_"): found[name] for name in names}
