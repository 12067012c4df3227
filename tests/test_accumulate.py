"""A batch in parts: the loss, the gradient and the metrics of the whole batch."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from runs import TEXT, fit_run, metric_lines, prepare_run, run_config
from tiny import (
    VOCAB,
    drawn,
    largest_difference,
    leaves,
    ragged_tree,
    random_labels,
    tiny_batch,
    tiny_config,
)

from hsjax.batch import BatchSpec
from hsjax.losses import CONTRASTS
from hsjax.models.build import Model, build_model
from hsjax.settings.choices import check_choices
from hsjax.sharding import BATCH, make_mesh, place_batch, replicated, state_specs
from hsjax.train.accumulate import join_rows, make_accumulated, split_rows
from hsjax.train.devices import training_mesh
from hsjax.train.objective import make_objective
from hsjax.train.state import make_state
from hsjax.train.step import Running, make_step
from hsjax.train.workdir import ConfigError, open_workdir, write_config

TREE = ragged_tree(0, depth=2)
PAIR = ("title", "image")
ROWS = 32
# keeps the gradient as it is, in place of moments
OPTIMIZER = optax.sgd(0.1, momentum=0.0)
REPORTED = ("loss", "classification", "contrastive", "gradient_norm")
RAW = "raw text and pictures"
KINDS = {name: {"objective__contrastive_kind": name} for name in CONTRASTS}
KINDS |= {
    RAW: {},
    "one way, near and hard": {
        "objective__direction": "t2i",
        "objective__negatives": "branch",
        "objective__hardest": 2,
    },
    "without contrast": {
        "model__head__kind": "flat",
        "model__fusion__kind": "gated",
        "objective__level_reduction": "mean",
        "objective__contrastive": 0.0,
    },
}


def world(kind="info_nce", /, **changes):
    """(config, model, state, batch), features but for RAW; nothing is drawn."""
    config = tiny_config(
        PAIR,
        model__image__stages=(1,),
        model__image__widths=(8,),
        objective__temperature=0.5,
        **KINDS[kind],
        **changes,
    )
    if kind == RAW:
        spec = BatchSpec((("title", 5),), (1, 7, 6), TREE.num_levels)
    else:
        features = (("title", (6,)), ("image", (3, 5)))  # a vector; states
        spec = BatchSpec((), None, TREE.num_levels, features)
    model = build_model(config, spec, TREE, vocab_size=VOCAB)
    batch = hard_batch(spec)
    params, stats = jax.eval_shape(model.init, jax.random.key(0), batch)
    return (
        config,
        model,
        make_state(drawn(params), drawn(stats), OPTIMIZER, ema=True),
        batch,
    )


def hard_batch(spec):
    """Twins in other parts, rows without weight, without a modality, without a label.

    Row i is in the part i mod parts.
    """
    rows, rng = np.arange(ROWS), np.random.default_rng(0)
    weight = np.where(rows % 7 == 3, 0.0, np.where(rows % 7 == 4, 2.0, 1.0))
    batch = tiny_batch(spec, TREE, ROWS) | {
        "group": np.where(rows % 5 == 0, rows // 10, 100 + rows).astype(np.int32),
        "weight": weight.astype(np.float32),
        "has_title": rows % 5 != 1,
        "has_image": rows % 4 != 2,  # of 4 parts one is without any picture
        "labels": random_labels(TREE, ROWS, 1),
    }
    for modality, shape in spec.features:
        drawn = rng.normal(size=(ROWS, *shape))
        batch[f"{modality}_features"] = drawn.astype(np.float32)
        if len(shape) > 1:
            batch[f"{modality}_mask"] = rng.random((ROWS, shape[0])) < 0.7
    return batch


def one_step(world, *, parts, mesh=(1, 1), frozen=None):
    """(jitted step, its arguments) as training runs it."""
    config, model, state, batch = world
    mesh = make_mesh(*mesh)
    specs = state_specs(state, config.train.sharding, mesh)
    shardings = jax.tree.map(lambda s: NamedSharding(mesh, s), specs)
    step = make_step(
        model.apply,
        make_objective(config.objective, TREE, PAIR, mesh=mesh),
        OPTIMIZER,
        ema=0.9,
        micro_batches=parts,
        frozen=frozen,
    )
    names = [x for x in REPORTED if x not in config.objective or config.objective[x]]
    arguments = (
        # copies, as the step is given them to overwrite
        jax.device_put(jax.tree.map(jnp.copy, state), shardings),
        jax.device_put(Running.empty(names), replicated(mesh)),
        place_batch(batch, mesh),
    )
    out = (shardings, replicated(mesh))
    return jax.jit(step, donate_argnums=(0, 1), out_shardings=out), arguments


@functools.cache
def whole(kind):
    """(state, running) after a step on one device, the batch in one part."""
    step, arguments = one_step(world(kind), parts=1)
    return jax.device_get(step(*arguments))


def assert_same_step(found, expected):
    (after, running), (after_, running_) = expected, found
    assert int(running_.bad_step) == -1
    assert running_.averages.keys() == running.averages.keys()
    for name, average in running.averages.items():
        same = running_.averages[name]
        assert average.compute() > 0.1
        np.testing.assert_allclose(same.compute(), average.compute(), rtol=2e-6)
        assert same.count == average.count
    gradients = [leaves(x.opt_state[0].trace) for x in (after, after_)]
    for name, gradient in gradients[0].items():
        gap = np.abs(gradients[1][name] - gradient).max()
        assert gap < 1e-6 * max(1.0, np.abs(gradient).max()), name
    assert largest_difference(after_.params, after.params) < 1e-6
    assert largest_difference(after_.ema, after.ema) < 1e-6


CASES = [(kind, 4, (8, 1)) for kind in KINDS]
CASES += [("info_nce", 16, (1, 1)), ("sigmoid", 2, (1, 1))]
SLOW = [(kind, 8, (1, 1)) for kind in KINDS] + [(RAW, 4, (2, 4))]


@pytest.mark.parametrize(
    ("kind", "parts", "mesh"),
    [*CASES, *(pytest.param(*x, marks=pytest.mark.slow) for x in SLOW)],
)
def test_parts_give_the_loss_the_gradient_and_the_update_of_the_whole(
    kind, parts, mesh
):
    step, arguments = one_step(world(kind), parts=parts, mesh=mesh)
    program = step.lower(*arguments).compile()
    assert_same_step(jax.device_get(program(*arguments)), whole(kind))
    assert all(x.is_deleted() for x in jax.tree.leaves(arguments[:2])), "donated"
    moved = whole(kind)[0].opt_state[0].trace
    moved = {name for name, x in leaves(moved).items() if np.abs(x).max() > 1e-4}
    learnt = ["absent_token", *(["temperature"] if kind in CONTRASTS else [])]
    learnt += ["contrastive_bias"] if kind == "sigmoid" else []
    for part in learnt:
        assert any(part in name for name in moved), part
    if mesh == (8, 1):
        lines = [x for x in program.as_text().splitlines() if "while/body" in x]
        exchange = r" (all-gather|all-to-all|collective-permute)(-start)?\("
        assert any("all-reduce(" in x for x in lines)
        assert not [x for x in lines if re.search(exchange, x)], "rows stay"


def in_parts(model, objective, batch, parts, key):
    """(params, stats) -> (loss, (stats, metrics)), with all parts in one program.

    What `make_accumulated` must equal: parts one after the other, then the loss of the
    rows in their first order, for autodiff to differentiate as it is.
    """
    keys, order = (
        jax.random.split(key, parts),
        np.argsort(np.arange(ROWS) % parts, kind="stable"),
    )

    def loss_of(params, stats):
        found = []
        for j in range(parts):
            part = {name: x[j::parts] for name, x in batch.items()}
            outputs, stats = model.apply(params, stats, part, dropout_key=keys[j])
            found.append(outputs)

        def join(*xs):
            return jnp.concatenate(xs)[np.argsort(order)] if xs[0].ndim else xs[0]

        loss, metrics = objective(jax.tree.map(join, *found), batch)
        return loss, (stats, metrics)

    return loss_of


DRAWS = {"model__head__dropout": 0.4, "model__modality_dropout": 0.5}
DRAWN = {
    "draws": DRAWS,
    "batch norm": {"model__head__norm": "batch"},
    "draws and batch norm": DRAWS | {"model__head__norm": "batch"},
}


@pytest.mark.parametrize("name", DRAWN)
def test_both_passes_draw_alike_and_part_after_part_moves_the_statistics(name):
    config, model, state, batch = world(**DRAWN[name])
    batch = jax.tree.map(jnp.asarray, batch)
    objective = make_objective(config.objective, TREE, PAIR)
    # of 4 parts one without weight, which moves no statistics
    batch["weight"] = jnp.where(jnp.arange(ROWS) % 4 == 2, 0.0, batch["weight"])
    key, found = jax.random.key(3), {}
    for parts in (1, 4):
        plain = in_parts(model, objective, batch, parts, key)
        of = jax.value_and_grad(plain, has_aux=True)
        found[parts] = jax.jit(of)(state.params, state.stats)
    gradient = jax.jit(make_accumulated(model.apply, objective, 4))
    mine = gradient(state.params, state.stats, batch, key)
    assert largest_difference(mine, found[4]) < 2e-6
    # the whole batch in one part draws and normalises otherwise
    assert abs(float(mine[0][0] - found[1][0][0])) > 1e-3
    assert largest_difference(mine[1], found[1][1]) > 1e-3
    if "norm" in name:
        moved = mine[0][1][0]
        assert largest_difference(moved, found[1][0][1][0]) > 1e-3
        assert largest_difference(moved, state.stats) > 1e-3


def test_the_second_pass_sees_the_statistics_of_the_first():
    """With any `apply`: here each part is multiplied by the number of its turn."""

    def apply(params, stats, batch, *, dropout_key):
        del dropout_key
        rows = jnp.tanh(batch["x"] * params["w"][None]) * stats["turn"]
        outputs = {"rows": rows, "scale": jnp.exp(params["scale"])}
        return outputs, {"turn": stats["turn"] + 1.0}

    def objective(outputs, batch):
        s = outputs["scale"] * outputs["rows"] @ outputs["rows"].T
        loss = (jax.nn.logsumexp(s, axis=1) * batch["weight"]).mean()
        return loss, {"loss": (loss, batch["weight"].sum())}

    rng = np.random.default_rng(0)
    x = jnp.asarray(0.1 * rng.normal(size=(ROWS, 3)), jnp.float32)
    batch = {"x": x, "weight": jnp.linspace(0.0, 1.0, ROWS)}
    params, stats = {"w": jnp.ones(3), "scale": jnp.ones(())}, {"turn": jnp.ones(())}
    key, model = jax.random.key(0), Model(None, apply)
    plain = in_parts(model, objective, batch, 4, key)
    expected = jax.value_and_grad(plain, has_aux=True)(params, stats)
    found = make_accumulated(apply, objective, 4)(params, stats, batch, key)
    assert largest_difference(found, expected) < 2e-6
    assert float(found[0][1][0]["turn"]) == 5.0


def test_a_loss_with_the_negatives_of_a_part_would_be_another():
    config, model, state, batch = world()
    batch, key = jax.tree.map(jnp.asarray, batch), jax.random.key(0)
    objective = make_objective(config.objective, TREE, PAIR)

    @jax.jit
    def loss(batch):
        outputs, _ = model.apply(state.params, state.stats, batch, dropout_key=key)
        return objective(outputs, batch)[1]["contrastive"][0]

    parts = [{name: x[j::4] for name, x in batch.items()} for j in range(4)]
    assert abs(np.mean([loss(part) for part in parts]) - loss(batch)) > 0.1


def test_every_device_cuts_its_own_rows():
    mesh = make_mesh(8)
    rows = NamedSharding(mesh, BATCH)
    batch = jax.device_put(np.arange(64 * 3, dtype=np.float32).reshape(64, 3), rows)
    cut = jax.jit(lambda x: split_rows(x, 4)).lower(batch).compile()
    joined = jax.jit(lambda x: join_rows(split_rows(x, 4) + 1)).lower(batch).compile()
    for program in (cut, joined):
        assert not re.search("all-|permute", program.as_text()), "rows stay"
    assert {x.data.shape for x in cut(batch).addressable_shards} == {(4, 2, 3)}
    np.testing.assert_array_equal(cut(batch)[1], np.asarray(batch)[1::4])
    np.testing.assert_array_equal(joined(batch), batch + 1)


def text_world(rows):
    """A transformer over titles beside features of pictures."""
    config = tiny_config(
        PAIR,
        model__text__depth=2,
        model__text__width=32,
        model__text__mlp=128,
    )
    spec = BatchSpec((("title", 16),), None, TREE.num_levels, (("image", (8,)),))
    model = build_model(config, spec, TREE, vocab_size=VOCAB)
    batch = tiny_batch(spec, TREE, rows)
    params, stats = jax.eval_shape(model.init, jax.random.key(0), batch)
    state = make_state(drawn(params), drawn(stats), OPTIMIZER, ema=False)
    return config, model, state, batch


def test_parts_save_the_memory_of_activations():
    made, sizes = text_world(512), {}
    for parts in (1, 8):
        step, arguments = one_step(made, parts=parts)
        memory = step.lower(*arguments).compile().memory_analysis()
        sizes[parts] = memory.temp_size_in_bytes
    assert sizes[8] < sizes[1] / 2, sizes


def test_what_is_frozen_is_not_differentiated_in_parts():
    made = text_world(64)
    frozen = jax.tree.map(lambda x: False, made[2].params)
    frozen["text"] = jax.tree.map(lambda x: True, frozen["text"])
    flops, after = {}, {}
    for name, what in {"none": None, "text": frozen}.items():
        step, arguments = one_step(made, parts=4, frozen=what)
        program = step.lower(*arguments).compile()
        flops[name] = program.cost_analysis()["flops"]
        after[name] = program(*arguments)[0]
    assert flops["text"] < 0.6 * flops["none"], flops
    gradients = [x.opt_state[0].trace for x in after.values()]
    for name, gradient in gradients[1].items():
        if name == "text":
            assert not any(x.any() for x in jax.tree.leaves(gradient))
        else:
            assert largest_difference(gradient, gradients[0][name]) < 1e-6, name


@pytest.mark.slow
def test_a_run_goes_on_in_other_parts(tmp_path):
    still = {"model.text.dropout": 0.0, "model.head.dropout": 0.0}
    prepared = prepare_run(run_config({**TEXT, **still}))
    one, two = tmp_path / "one", tmp_path / "two"
    steps = {"train__log_every": 2, "train__eval_every": 4}
    fit_run(prepared, one, train__steps=8, **steps)
    fit_run(prepared, two, train__steps=4, **steps)
    write_config(prepared.config, two)
    config = run_config({**TEXT, **still}, train__micro_batches=4, train__steps=10)
    assert open_workdir(config, two).train.micro_batches == 1
    finished = fit_run(prepared, two, train__steps=8, train__micro_batches=4, **steps)
    assert finished.compiles == 0
    lines = metric_lines(one), metric_lines(two)
    assert [x["step"] for x in lines[1]] == [2, 4, 4, 6, 8, 8]
    for expected, found in zip(*lines, strict=True):
        assert found.keys() == expected.keys()
        for name in expected.keys() & {"train/loss", "train/gradient_norm", "val/loss"}:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-4)


@pytest.mark.parametrize(
    ("devices", "parts", "message"),
    [
        (8, 4, "batch_size is 16, no multiple of 4 parts x 8 devices; change it, or"),
        (1, 3, "batch_size is 16, no multiple of 3 parts x 1 devices; change it, or"),
    ],
)
def test_parts_that_do_not_divide_the_batch(devices, parts, message):
    changes = {"train__data_devices": devices, "train__micro_batches": parts}
    with pytest.raises(ConfigError, match=message):
        training_mesh(run_config(**changes))
    training_mesh(run_config(train__data_devices=devices, train__micro_batches=2))


def test_no_parts_at_all_are_refused():
    message = "train.micro_batches is 0; it must be 1 or more"
    with pytest.raises(ConfigError, match=message):
        check_choices(run_config(train__micro_batches=0))
