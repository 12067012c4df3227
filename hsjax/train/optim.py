"""Optimizer from a config; (regex -> multiplier, decay) rules cover every parameter."""

import jax
import optax

from hsjax.sharding import first_match, parameter_names
from hsjax.train.workdir import blamed_on


def learning_rate(config, steps: int) -> optax.Schedule:
    """Linear warm-up over a share of the steps, then the schedule to `final` x peak."""
    peak, final = config.learning_rate, config.final * config.learning_rate
    warmup = max(1, round(config.warmup * steps))
    rest = max(1, steps - warmup)
    schedules = {
        "cosine": optax.cosine_decay_schedule(peak, rest, config.final),
        "linear": optax.linear_schedule(peak, final, rest),
        "constant": optax.constant_schedule(peak),
    }
    rise = optax.linear_schedule(peak / warmup, peak, warmup)
    return optax.join_schedules([rise, schedules[config.schedule]], [warmup])


def parameter_rules(config, params):
    """Trees of (multiplier, decay) by the first rule that matches each name.

    Raises:
      ConfigError: a parameter that no rule covers.
    """
    structure = jax.tree.structure(params)
    with blamed_on("optim.rules"):
        pairs = [first_match(name, config.rules) for name in parameter_names(params)]
    return tuple(
        jax.tree.unflatten(structure, column) for column in zip(*pairs, strict=True)
    )


def make_optimizer(config, params, steps: int) -> optax.GradientTransformation:
    """Clip, Adam, decoupled decay, schedule, multiplier; frozen parameters keep no
    moments.

    Raises:
      ConfigError: a parameter that no rule covers.
    """
    multipliers, decays = parameter_rules(config, params)
    clip = [optax.clip_by_global_norm(config.clip)] if config.clip else []
    adam = optax.chain(*clip, optax.scale_by_adam(config.b1, config.b2))
    labels = jax.tree.map(lambda m: "train" if m else "frozen", multipliers)
    parts = [optax.partition({"train": adam, "frozen": optax.set_to_zero()}, labels)]
    if config.name == "adamw":
        parts.append(_decay(config.weight_decay, decays))
    parts.append(optax.scale_by_learning_rate(learning_rate(config, steps)))
    parts.append(_multiply(multipliers))
    return optax.chain(*parts)


def _decay(rate: float, decays) -> optax.GradientTransformation:
    def update(updates, params):
        return jax.tree.map(
            lambda u, p, d: u + rate * p if d else u, updates, params, decays
        )

    return optax.stateless(update)


def _multiply(multipliers) -> optax.GradientTransformation:
    def update(updates, params):
        del params
        return jax.tree.map(lambda u, m: u * m, updates, multipliers)

    return optax.stateless(update)
