"""Optimizer, schedules and one update: each acts where it says, and nowhere else."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import bitwise_equal, ragged_tree, tiny_config, tiny_model

from configs.base import get_config
from hsjax.decodes import exact_path
from hsjax.sharding import parameter_names
from hsjax.train.objective import make_objective
from hsjax.train.optim import (
    frozen_leaves,
    idle_rules,
    layer_scales,
    learning_rate,
    make_optimizer,
    parameter_rules,
)
from hsjax.train.state import make_state
from hsjax.train.step import Running, make_step

TREE = ragged_tree(0)
SMALLER = {"model__image__stages": (1,), "model__image__widths": (8,)}
PAIR = ("title", "image")
REPORTED = ("loss", "classification", "contrastive", "gradient_norm")
ALL = ((".*", 1.0, True),)
PARAMS = {
    "text": {"kernel": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "bias": jnp.ones(2)},
    "head": {"kernel": jnp.array([[2.0, 4.0]]), "scale": jnp.array([1.5])},
}
GRADS = jax.tree.map(lambda x: jnp.sin(3 * x) + 0.1, PARAMS)


def settings(**changes):
    config = get_config().optim
    config.update(
        {"schedule": "constant", "warmup": 0.0, "clip": 0.0, "rules": ALL} | changes
    )
    return config


def updates(config, *, grads=GRADS, params=PARAMS, steps=1):
    """(parameters after some updates with these gradients, optimizer state)."""
    optimizer = make_optimizer(config, params, 100)
    with jax.numpy_dtype_promotion("standard"):
        state = optimizer.init(params)
        for _ in range(steps):
            update, state = optimizer.update(grads, state, params)
            params = optax.apply_updates(params, update)
    return params, state


def moved(config, **options):
    return jax.tree.map(lambda a, b: a - b, updates(config, **options)[0], PARAMS)


def close(a, b):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7), a, b
    )


@pytest.mark.parametrize("name", ["cosine", "linear", "constant"])
def test_a_schedule_rises_to_its_peak_and_ends_where_it_should(name):
    config = settings(learning_rate=0.2, warmup=0.1, final=0.05, schedule=name)
    rate = learning_rate(config, 200)
    values = np.array([float(rate(k)) for k in range(202)])
    assert values[0] == pytest.approx(0.2 / 20, rel=1e-5)
    assert (np.diff(values[:21]) > 0).all()
    assert values[20] == pytest.approx(0.2, rel=1e-5)
    assert (np.diff(values[20:]) <= 1e-7).all()
    end = 0.2 if name == "constant" else 0.01
    assert values[200] == pytest.approx(end, rel=1e-5)
    assert values[201] == pytest.approx(end, rel=1e-5)
    middle = {"cosine": 0.105, "linear": 0.105, "constant": 0.2}
    assert values[110] == pytest.approx(middle[name], rel=1e-5)


def test_the_first_rule_that_matches_the_whole_name_wins():
    rules = (("text/kernel", 0.5, False), ("text/.*", 2.0, True), (".*", 1.0, True))
    multipliers, decays = parameter_rules(settings(rules=rules), PARAMS)
    assert multipliers["text"] == {"kernel": 0.5, "bias": 2.0}
    assert decays["text"] == {"kernel": False, "bias": True}
    assert multipliers["head"] == {"kernel": 1.0, "scale": 1.0}


def test_a_rule_that_decides_nothing_is_told_with_the_reason():
    rules = (("text/.*", 1.0, True), ("text/bias", 0.0, False), ("tex/.*", 0.0, False))
    told = idle_rules(settings(rules=(*rules, ("head/.*", 1.0, True))), PARAMS)
    lead = "optim.rules: {!r} decides for no parameter; {}"
    assert told == [
        lead.format("text/bias", "earlier rules match first"),
        lead.format("tex/.*", "see parameters.txt for names"),
    ]
    assert idle_rules(settings(rules=(*ALL, rules[0])), PARAMS)
    # a last rule for what is left
    assert not idle_rules(settings(rules=(("(text|head)/.*", 0.0, True), *ALL)), PARAMS)


@pytest.mark.parametrize(
    "rules", [(("text/.*", 1.0, True),), (("ead/.*|text.*", 1.0, True),)]
)
def test_a_parameter_without_a_rule_is_refused_by_name(rules):
    with pytest.raises(ValueError, match="'head/kernel'"):
        make_optimizer(settings(rules=rules), PARAMS, 10)


def test_the_default_rules_cover_every_parameter_of_a_model():
    config = tiny_config(("title", "brand", "image"))
    _, params, _, _ = tiny_model(config, TREE)
    _, decays = parameter_rules(config.optim, params)
    names = parameter_names(params)
    pairs = zip(names, jax.tree.leaves(decays), strict=True)
    decayed = {name for name, decay in pairs if decay}
    plain = ("kernel", "token_embedding")
    assert decayed == {n for n in names if n.endswith(plain)}


def test_adam_takes_the_step_of_its_definition():
    config = settings(name="adam", learning_rate=0.01)
    m, v, expected = 0.0, 0.0, np.array(PARAMS["text"]["kernel"], np.float64)
    g = np.array(GRADS["text"]["kernel"], np.float64)
    for k in range(1, 4):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        expected -= 0.01 * (m / (1 - 0.9**k)) / (np.sqrt(v / (1 - 0.999**k)) + 1e-8)
    found = updates(config, steps=3)[0]["text"]["kernel"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_adamw_is_adam_and_decoupled_decay():
    options = {"learning_rate": 0.01, "weight_decay": 0.3}
    adam, adamw = (moved(settings(name=n, **options)) for n in ("adam", "adamw"))
    decay = jax.tree.map(lambda p: -0.01 * 0.3 * p, PARAMS)
    close(jax.tree.map(lambda a, b: a - b, adamw, adam), decay)


def test_multiplier_and_decay_act_only_where_said():
    rules = ((r"text/kernel", 0.1, True), (r"text/.*", 1.0, False), (".*", 1.0, True))
    still = jax.tree.map(jnp.zeros_like, GRADS)
    options = {"learning_rate": 0.01, "weight_decay": 0.3}
    found = moved(settings(rules=rules, **options), grads=still)
    assert not found["text"]["bias"].any()
    close(found["text"]["kernel"], -0.1 * 0.01 * 0.3 * PARAMS["text"]["kernel"])
    close(found["head"], jax.tree.map(lambda p: -0.01 * 0.3 * p, PARAMS["head"]))
    one, tenth = (moved(settings(name="adam", rules=r)) for r in (ALL, rules))
    close(tenth["text"]["kernel"], 0.1 * one["text"]["kernel"])
    assert bitwise_equal(tenth["head"], one["head"])


def test_frozen_parameters_stay_bitwise_and_keep_no_moments():
    rules = (("text/.*", 0.0, True), (".*", 1.0, True))
    params, state = updates(settings(rules=rules), steps=5)
    assert bitwise_equal(params["text"], PARAMS["text"])
    assert (params["head"]["kernel"] != PARAMS["head"]["kernel"]).all()
    names = [
        n for n in parameter_names(state) if n.endswith(("kernel", "bias", "scale"))
    ]
    assert any("head/kernel" in n for n in names)
    assert not any("text" in n for n in names)


def test_clipping_counts_what_is_trained_and_nothing_else():
    rules = (("text/.*", 0.0, True), (".*", 1.0, True))
    big = jax.tree.map(lambda g: g, GRADS) | {
        "text": jax.tree.map(lambda g: g * 1e6, GRADS["text"])
    }
    config = settings(rules=rules, clip=0.5, name="adam")
    assert bitwise_equal(updates(config, grads=big)[0], updates(config)[0])
    state = updates(settings(clip=0.5, name="adam"), grads=big)[1]
    moments = [
        x
        for n, x in zip(parameter_names(state), jax.tree.leaves(state), strict=True)
        if "/mu/" in n
    ]
    norm = np.sqrt(sum(float(jnp.square(x).sum()) for x in moments))
    assert norm == pytest.approx(0.1 * 0.5, rel=1e-5)


def towers(**changes):
    """(config, shapes of the parameters) of two towers of 3 and 2 layers."""
    deep = {"model__text__depth": 3, "model__image__depth": 2}
    small = {"model__image__patch": 5, "model__image__width": 8}
    small |= {"model__image__heads": 2, "model__image__mlp": 9}
    vit = {"model__image__family": "vit", "model__image__pool": "cls"}
    config = tiny_config(**deep, **small, **vit, **changes)
    return config, tiny_model(config, TREE)[1]


def test_a_layer_decay_that_scales_nothing_trained_is_told():
    (told,) = idle_rules(settings(layer_decay=0.8), PARAMS)
    assert told.startswith("optim.layer_decay of 0.8 does nothing: no tower of")
    config, params = towers(optim__layer_decay=0.8)
    assert not idle_rules(config.optim, params)
    frozen = (("(text|image)/.*", 0.0, False), *ALL)
    config, params = towers(optim__layer_decay=0.8, optim__rules=frozen)
    assert len(idle_rules(config.optim, params)) == 1


def test_layer_decay_falls_from_the_last_layer_to_what_lies_before_the_first():
    rules = (("image/.*bias", 0.5, True), ("image/layer1/.*", 0.0, True), *ALL)
    config, params = towers(optim__layer_decay=0.1, optim__rules=rules)
    multipliers, _ = parameter_rules(config.optim, params)
    names = parameter_names(params)
    found = dict(zip(names, jax.tree.leaves(multipliers), strict=True))
    scales = {
        "text/token_embedding": 1e-3,
        "text/position": 1e-3,
        "text/embedding_norm/scale": 1e-3,
        "text/layer0/attention/qkv/kernel": 1e-2,
        "text/layer1/mlp_out/bias": 1e-1,
        "text/layer2/mlp_norm/scale": 1.0,
        "text/final_norm/scale": 1.0,
        "image/cls_token": 1e-2,
        "image/position": 1e-2,
        "image/patch_embedding/kernel": 1e-2,
        "image/patch_embedding/bias": 0.5e-2,
        "image/layer0/attention/out/bias": 0.5e-1,
        "image/layer1/attention/out/kernel": 0.0,
        "image/final_norm/bias": 0.5,
        "text_joint/absent_token": 1.0,
        "image_joint/projection/kernel": 1.0,
        "head/shared/kernel": 1.0,
    }
    for name, expected in scales.items():
        assert found[name] == pytest.approx(expected, rel=1e-6), name
    below = ("layer", "token_embedding", "position", "embedding_norm")
    below += ("patch_embedding", "cls_token")
    rest = [n for n in names if not any(f"/{part}" in n for part in below)]
    assert {found[n] for n in rest} == {1.0, 0.5}
    assert layer_scales(names, 1.0) == [1.0] * len(names)
    # beside the layers, not below them
    names = ["text/layer0/x", "text/bag_embedding", "text/bag_norm/scale", "text/x"]
    assert layer_scales(names, 0.1) == [1.0, 1.0, 1.0, 0.1]


def test_the_last_k_layers_are_trained_by_two_rules():
    rules = (("text/layer[12]/.*", 1.0, True), ("text/.*", 0.0, False), *ALL)
    config, params = towers(optim__rules=rules)
    frozen = frozen_leaves(config.optim, params)
    pairs = zip(parameter_names(params), jax.tree.leaves(frozen), strict=True)
    still = {name for name, stays in pairs if stays}
    expected = {
        n
        for n in parameter_names(params)
        if n.startswith("text/") and not n.startswith(("text/layer1", "text/layer2"))
    }
    assert still == expected


def one_step(rules, *, masked=True, **changes):
    """(jitted step, its arguments) of a text model, most of it a tower."""
    config = tiny_config(
        ("title",), model__text__depth=4, objective__contrastive=0.0, **changes
    )
    config.optim.rules = rules
    model, params, stats, batch = tiny_model(config, TREE, rows=16)
    optimizer = make_optimizer(config.optim, params, 100)
    objective = make_objective(config.objective, TREE, ("title",))
    frozen = frozen_leaves(config.optim, params) if masked else None
    step = make_step(model.apply, objective, optimizer, ema=0.9, frozen=frozen)
    state = make_state(params, stats, optimizer, ema=True)
    running = Running.empty(("loss", "classification", "gradient_norm"))
    return jax.jit(step), (state, running, batch), model


def test_what_is_frozen_is_not_differentiated():
    """Floating point operations of a step, and of the forward pass alone."""

    def flops(function, *args):
        return function.lower(*args).compile().cost_analysis()["flops"]

    last = (("text/layer3/.*", 1.0, True), ("text/.*", 0.0, False), *ALL)
    steps = {}
    for name, rules in {"all": ALL, "last": last, "none": last[1:]}.items():
        step, args, model = one_step(rules)
        steps[name] = flops(step, *args)
    state, _, batch = args
    forward = flops(jax.jit(model.apply), state.params, state.stats, batch)
    assert steps["none"] < 1.35 * forward, (steps, forward)
    assert steps["none"] < 0.75 * steps["last"] < 0.75 * 0.75 * steps["all"], steps


def test_frozen_parameters_stay_and_the_others_do_not_notice_the_mask():
    rules = (("text/layer1/.*", 1.0, True), ("text/.*", 0.0, True), *ALL)
    found = []
    for masked in (True, False):
        step, (state, running, batch), _ = one_step(rules, masked=masked)
        after = state
        for _ in range(3):
            after, running = step(after, running, batch)
        found.append(after)
    with_mask, without = found
    frozen = frozen_leaves(settings(rules=rules), state.params)
    leaves = zip(
        parameter_names(state.params),
        *map(jax.tree.leaves, (frozen, state.params, with_mask.params, without.params)),
        jax.tree.leaves(with_mask.ema[0]),
        strict=True,
    )
    for name, stays, start, mine, theirs, mean in leaves:
        if stays:
            assert bitwise_equal((mine, mean, theirs), (start,) * 3), name
        elif not name.endswith(("temperature", "qkv/bias")):  # no gradient, or only
            # rounding (keys have none), which Adam makes as large as any
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
            assert (mine != start).any(), name
    moments = [n for n in parameter_names(with_mask.opt_state) if "/mu/" in n]
    assert any("text/layer1" in n for n in moments)
    assert not any("text/layer0" in n or "token_embedding" in n for n in moments)


@functools.cache
def world():
    """(state, jitted step, batch, what runs along) of a model with all trimmings."""
    config = tiny_config(
        model__image__norm="batch",
        model__text__depth=0,
        objective__temperature=0.5,
        **SMALLER,
    )
    model, params, stats, batch = tiny_model(config, TREE)
    optimizer = make_optimizer(config.optim, params, 100)
    objective = make_objective(config.objective, TREE, config.model.modalities)
    state = make_state(params, stats, optimizer, ema=True)
    step = make_step(model.apply, objective, optimizer, ema=0.75)
    return state, jax.jit(step), batch, Running.empty(REPORTED)


def test_seeds_share_a_program_and_drop_otherwise():
    config = tiny_config(model__head__dropout=0.5, **SMALLER)
    model, params, stats, batch = tiny_model(config, TREE)
    optimizer = make_optimizer(config.optim, params, 100)
    objective = make_objective(config.objective, TREE, config.model.modalities)
    state = make_state(params, stats, optimizer, ema=False)
    step = jax.jit(make_step(model.apply, objective, optimizer))
    losses = []
    for seed in (0, 1, 2**32 - 1, 0):
        _, running = step(state, Running.empty(REPORTED, seed=seed), batch)
        losses.append(float(running.averages["loss"].compute()))
    assert step._cache_size() == 1
    assert losses[0] == losses[3]
    assert len(set(losses)) == 3


def test_a_gradient_that_is_not_finite_changes_nothing_and_is_remembered():
    state, step, batch, running = world()
    state, running = step(state, running, batch)
    assert int(running.bad_step) == -1
    bad = batch | {"weight": np.where(np.arange(5) == 2, np.inf, 1).astype(np.float32)}
    after, running = step(state, running, bad)
    assert int(after.step) == int(state.step) + 1 == 2
    assert bitwise_equal(after._replace(step=state.step), state)
    good, running = step(after, running, batch)
    assert not bitwise_equal(good.params, after.params)
    _, running = step(good, running, bad)
    assert int(running.bad_step) == 1, "the first bad step is kept"


def test_averaged_parameters_follow_and_answer():
    state, step, batch, running = world()
    assert bitwise_equal(state.evaluated, (state.params, state.stats))
    for number, decay in ((0, 0.1), (40, 0.75)):  # (1 + 40) / (10 + 40) is above it
        state = state._replace(step=jnp.int32(number))
        after, _ = step(state, running, batch)
        assert not bitwise_equal(after.params, state.params)
        assert not bitwise_equal(after.stats, state.stats)
        pairs = (state.params, state.stats), (after.params, after.stats)
        mean = jax.tree.map(lambda a, b, d=decay: d * a + (1 - d) * b, *pairs)
        close(after.evaluated, mean)


def test_running_means_weigh_batches_by_their_rows():
    state, step, batch, empty = world()
    light = batch | {"weight": np.array([1, 0, 0, 0, 1], np.float32)}
    first, second = (step(state, empty, b)[1] for b in (batch, light))
    both = step(state, first, light)[1]
    a, b, mean = (r.averages["classification"].compute() for r in (first, second, both))
    assert abs(a - b) > 1e-3
    np.testing.assert_allclose(mean, (5 * a + 2 * b) / 7, rtol=1e-5)


def test_32_products_are_learnt_by_heart():
    config = tiny_config(
        model__joint_width=16,
        **SMALLER,
        optim__learning_rate=1e-2,
        optim__weight_decay=0.0,
        objective__contrastive=0.1,
    )
    model, params, stats, batch = tiny_model(config, TREE, rows=32)
    optimizer = make_optimizer(config.optim, params, 300)
    objective = make_objective(config.objective, TREE, config.model.modalities)
    step = jax.jit(make_step(model.apply, objective, optimizer))
    state, running = make_state(params, stats, optimizer, ema=False), None
    for _ in range(300):
        state, running = step(state, Running.empty(REPORTED), batch)
    assert float(running.averages["classification"].compute()) < 0.05
    outputs, _ = jax.jit(model.apply)(state.params, state.stats, batch)
    np.testing.assert_array_equal(exact_path(outputs.logits, TREE), batch["labels"])
