"""What is minimised, the weighted sum of a config's losses, and what is reported."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from hsjax.batch import IMAGE
from hsjax.losses import (
    Pairs,
    hierarchical_cross_entropy,
    kin_of,
    make_contrast,
    nt_xent,
    weighted_mean,
)
from hsjax.losses.classification import (
    balanced_weights,
    label_counts,
    logit_adjustments,
)
from hsjax.losses.contrastive import LABEL_AWARE
from hsjax.sharding import BATCH
from hsjax.taxonomy import Taxonomy
from hsjax.train.workdir import ConfigError

TERMS = ("classification", "contrastive", "self_supervised")  # weights of a config
Terms = dict[str, tuple]  # name -> (value, weight) per example


def training_metrics(config) -> tuple[str, ...]:
    """Names of what a training step reports."""
    losses = [name for name in TERMS if config[name]]
    return ("loss", *losses, "gradient_norm")


def check_objective(config, modalities: tuple[str, ...]) -> None:
    """Is there anything to learn, and from what?

    Raises:
      ConfigError: a contrastive loss without text or without image, or no loss at all.
    """
    both = IMAGE in modalities and any(m != IMAGE for m in modalities)
    if config.contrastive and not both:
        raise ConfigError(
            "objective.contrastive needs text and image; set it to 0 for one modality"
        )
    if not any(config[name] for name in TERMS):
        raise ConfigError("objective: all weights are 0, nothing would be learnt")


def make_objective(
    config,
    tree: Taxonomy,
    modalities: tuple[str, ...],
    *,
    train_labels: np.ndarray | None = None,
    mesh: Mesh | None = None,
) -> Callable:
    """`objective(outputs, batch) -> (loss, metrics)`.

    metrics: name -> (mean, sum of weights), so that means of means stay exact. A term
    of weight 0 is not traced.

    Args:
      train_labels: (N, L) of the training rows, counted where the config corrects for
        a long tail; not needed otherwise.
      mesh: that batches are split over; not needed but by `contrastive_form=ring`.

    Raises:
      ConfigError: see `check_objective`.
      ValueError: what the config needs is not given.
    """
    check_objective(config, modalities)
    terms = _make_terms(config, tree, modalities, train_labels, mesh)

    def objective(outputs, batch):
        found = terms(outputs, batch)
        means = {name: weighted_mean(*pair) for name, pair in found.items()}
        loss = sum(config[name] * mean for name, mean in means.items())
        metrics = {
            name: (means[name], weight.sum()) for name, (_, weight) in found.items()
        }
        return loss, {"loss": (loss, batch["weight"].sum()), **metrics}

    return objective


def _make_terms(config, tree: Taxonomy, modalities, train_labels, mesh) -> Callable:
    """`terms(outputs, batch) -> Terms`: those of the objective that have a weight."""
    texts = tuple(m for m in modalities if m != IMAGE)
    long_tail = _long_tail(config, tree, train_labels)
    if config.contrastive:
        of = config.contrastive_kind, config.contrastive_form
        size, axes = config.contrastive_chunk, BATCH[0]
        contrast = make_contrast(*of, size=size, mesh=mesh, axes=axes)

    def terms(outputs, batch) -> Terms:
        found, weight = {}, batch["weight"]
        if config.classification:
            found["classification"] = hierarchical_cross_entropy(
                outputs.logits,
                batch["labels"],
                tree,
                weight=weight,
                reduction=config.level_reduction,
                mask=config.mask,
                mask_on=config.mask_on,
                admissible=batch.get("admissible"),
                **long_tail,
            )
        if config.contrastive:
            text = jnp.stack([batch[f"has_{m}"] for m in texts]).any(axis=0)
            weight = jnp.where(text & batch["has_image"], weight, 0.0)
            pairs = make_pairs(config, batch, tree, weight=weight, bias=outputs.bias)
            found["contrastive"] = contrast(
                outputs.text, outputs.image, outputs.scale, pairs
            )
        if config.self_supervised:
            found["self_supervised"] = nt_xent(
                outputs.views,
                group=batch["group"],
                weight=jnp.where(batch["has_image"], batch["weight"], 0.0),
                temperature=config.self_temperature,
            )
        return found

    return terms


def make_pairs(config, batch, tree: Taxonomy, *, weight, bias) -> Pairs:
    """What the contrastive loss of a config asks of a batch.

    Args:
      weight: (B,) 0 where a modality is absent.
      bias: () of the sigmoid loss, None for others.
    """
    branch = config.negatives == "branch"
    reads_labels = branch or config.contrastive_kind in LABEL_AWARE
    # a row that is drawn twice into a batch is still itself
    own = batch["index"] if config.negatives == "every" else batch["group"]
    return Pairs(
        group=own,
        weight=weight,
        direction=config.direction,
        hardest=config.hardest,
        kin=kin_of(batch["labels"], tree) if reads_labels else None,
        branch=branch,
        softness=config.tree_softness,
        bias=bias,
    )


def _long_tail(config, tree: Taxonomy, train_labels: np.ndarray | None) -> dict:
    """Arguments of the cross-entropy that correct for frequency, none by default."""
    if not (config.class_balance or config.logit_adjustment):
        return {}
    if train_labels is None:
        raise ValueError("class_balance and logit_adjustment need the training labels")
    counts, found = label_counts(train_labels, tree), {}
    if config.class_balance:
        found["class_weights"] = balanced_weights(counts, tree, config.class_balance)
    if config.logit_adjustment:
        tau = config.logit_adjustment
        found["adjustments"] = logit_adjustments(counts, tree, tau)
    return found
