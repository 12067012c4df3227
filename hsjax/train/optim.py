"""Optimizer from a config; (regex -> multiplier, decay) rules cover every parameter."""

import re
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from hsjax.sharding import first_match, parameter_names
from hsjax.train.workdir import blamed_on

LAYER = re.compile(r"(\w+)/layer(\d+)/.*")
# of a tower, behind its last layer or beside all of them; what else is no layer lies
# before the first
BEHIND = re.compile(r"\w+/(final_norm|pool|projection|bag_\w+)(/.*)?")


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

    Multipliers are those of the rules times `layer_scales`.

    Raises:
      ConfigError: a parameter that no rule covers.
    """
    structure, names = jax.tree.structure(params), parameter_names(params)
    with blamed_on("optim.rules"):
        pairs = [first_match(name, config.rules) for name in names]
    scales = layer_scales(names, config.layer_decay)
    multipliers = [m * s for (m, _), s in zip(pairs, scales, strict=True)]
    columns = multipliers, [decay for _, decay in pairs]
    return tuple(jax.tree.unflatten(structure, column) for column in columns)


def idle_rules(config, params) -> list[str]:
    """Sentences on rules, and on a layer decay, that act on no parameter.

    A last rule for whatever is left may find nothing left.

    Raises:
      ConfigError: a parameter that no rule covers.
    """
    multipliers, _ = parameter_rules(config, params)
    names, told = parameter_names(params), []
    rules = [(pattern, place) for place, (pattern, *_) in enumerate(config.rules)]
    deciding = {first_match(name, rules)[0] for name in names}
    for pattern, place in rules:
        spare = pattern == ".*" and place == len(rules) - 1
        if place not in deciding and not spare:
            late = any(re.fullmatch(pattern, name) for name in names)
            known, none = "earlier rules match first", "see parameters.txt for names"
            why = known if late else none
            told.append(f"optim.rules: {pattern!r} decides for no parameter; {why}")
    scales = layer_scales(names, config.layer_decay)
    pairs = zip(scales, jax.tree.leaves(multipliers), strict=True)
    if config.layer_decay != 1 and all(s == 1 or not m for s, m in pairs):
        told.append(
            f"optim.layer_decay of {config.layer_decay:g} does nothing: no tower of"
            " transformer layers is trained"
        )
    return told


def layer_scales(names: Sequence[str], decay: float) -> list[float]:
    """Layer-wise decay of the learning rate (Clark et al., 2020, ELECTRA).

    In a tower `T` of n layers, parameters `T/layer{i}/...`: decay ** (n - 1 - i) in
    layer i, decay ** n in what lies before the layers (tokens, positions, patches), and
    1 in what lies behind them and wherever there are no layers.

    >>> layer_scales(["t/position", "t/layer0/x", "t/layer1/x", "head/x"], 0.5)
    [0.25, 0.5, 1.0, 1.0]
    """
    depth: dict[str, int] = {}
    for tower, layer in filter(None, map(_layer, names)):
        depth[tower] = max(depth.get(tower, 0), layer + 1)

    def scale(name: str) -> float:
        if found := _layer(name):
            return decay ** (depth[found[0]] - 1 - found[1])
        below = name.split("/")[0] in depth and not BEHIND.fullmatch(name)
        return decay ** depth[name.split("/")[0]] if below else 1.0

    return [scale(name) for name in names]


def _layer(name: str) -> tuple[str, int] | None:
    """(tower, number) of the layer that a parameter belongs to."""
    match = LAYER.fullmatch(name)
    return (match[1], int(match[2])) if match else None


def frozen_leaves(config, params):
    """Tree of bools: is the multiplier 0?

    Raises:
      ConfigError: a parameter that no rule covers.
    """
    multipliers, _ = parameter_rules(config, params)
    return jax.tree.map(lambda m: not m, multipliers)


def make_optimizer(config, params, steps: int) -> optax.GradientTransformation:
    """Clip, Adam, decoupled decay, schedule, multiplier; frozen parameters keep no
    moments.

    Raises:
      ConfigError: a parameter that no rule covers.
    """
    multipliers, decays = parameter_rules(config, params)
    decays = jax.tree.map(lambda m, d: bool(m) and d, multipliers, decays)
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
        # a literal 0 and no product: XLA drops what it is added to, and what it needs
        times = lambda u, m: u * m if m else jnp.zeros_like(u)  # noqa: E731
        return jax.tree.map(times, updates, multipliers)

    return optax.stateless(update)
