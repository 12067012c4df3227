"""What is minimised, the weighted sum of a config's losses, and what is reported."""

from collections.abc import Callable

import jax.numpy as jnp

from hsjax.batch import IMAGE
from hsjax.losses import hierarchical_cross_entropy, info_nce, weighted_mean
from hsjax.taxonomy import Taxonomy
from hsjax.train.workdir import ConfigError

Terms = dict[str, tuple]  # name -> (value, weight) per example


def training_metrics(config) -> tuple[str, ...]:
    """Names of what a training step reports."""
    losses = [name for name in ("classification", "contrastive") if config[name]]
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
    if not (config.contrastive or config.classification):
        raise ConfigError("objective: both weights are 0, nothing would be learnt")


def make_objective(config, tree: Taxonomy, modalities: tuple[str, ...]) -> Callable:
    """`objective(outputs, batch) -> (loss, metrics)`.

    metrics: name -> (mean, sum of weights), so that means of means stay exact. A term
    of weight 0 is not traced.

    Raises:
      ConfigError: see `check_objective`.
    """
    check_objective(config, modalities)
    texts = tuple(m for m in modalities if m != IMAGE)

    def terms(outputs, batch) -> Terms:
        found, weight = {}, batch["weight"]
        if config.classification:
            found["classification"] = hierarchical_cross_entropy(
                outputs.logits,
                batch["labels"],
                tree,
                weight=weight,
                reduction=config.level_reduction,
            )
        if config.contrastive:
            text = jnp.stack([batch[f"has_{m}"] for m in texts]).any(axis=0)
            found["contrastive"] = info_nce(
                outputs.text,
                outputs.image,
                outputs.scale,
                group=batch["group"],
                weight=jnp.where(text & batch["has_image"], weight, 0.0),
                direction=config.direction,
            )
        return found

    def objective(outputs, batch):
        found = terms(outputs, batch)
        means = {name: weighted_mean(*pair) for name, pair in found.items()}
        loss = sum(config[name] * mean for name, mean in means.items())
        metrics = {
            name: (means[name], weight.sum()) for name, (_, weight) in found.items()
        }
        return loss, {"loss": (loss, batch["weight"].sum()), **metrics}

    return objective
