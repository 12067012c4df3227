"""One device or eight, split by rows or by parameters: the same loss and update."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from tiny import largest_difference, ragged_tree, tiny_config, tiny_model

from hsjax.losses import Pairs, info_nce, weighted_mean
from hsjax.models.joint import Projection
from hsjax.models.placed import placed
from hsjax.sharding import (
    BATCH,
    activation_placer,
    batch_pieces,
    first_match,
    make_mesh,
    parameter_names,
    parameter_specs,
    place_batch,
    process_rows,
    state_specs,
)
from hsjax.train.objective import make_objective
from hsjax.train.optim import make_optimizer
from hsjax.train.state import make_state
from hsjax.train.step import Running, make_step

TREE = ragged_tree(0, depth=2)
PAIR = ("title", "image")
MESHES = {"2": (2, 1), "8": (8, 1), "8 = 4 x 2": (4, 2), "8 = 2 x 4": (2, 4)}
MESHES |= {"8 = 2 x 2 x 2": (2, 2, 2)}
REPORTED = ("loss", "classification", "contrastive", "gradient_norm")


@functools.cache
def parts():
    """(config, model, state, optimizer, batch); every kernel's width divides by 8.

    With all that draws, averages or counts over the batch.
    """
    config = tiny_config(
        model__joint_width=16,
        model__text__width=16,
        model__text__depth=1,
        model__text__dropout=0.1,
        model__text__bag=8,
        model__modality_dropout=0.3,
        model__image__stages=(1,),
        model__image__widths=(8,),
        model__head__width=8,
        model__image__norm="batch",
        objective__temperature=0.5,
        optim__warmup=0.0,
        optim__clip=0.0,
    )
    model, params, stats, batch = tiny_model(config, TREE, rows=16)
    batch |= {
        "weight": np.array([1, 0, 2, 1] * 4, np.float32),
        "group": np.array([0, 0, 1, 2, 3, 4, 5, 6] * 2, np.int32),
        "has_title": np.arange(16) % 5 > 0,
    }
    optimizer = make_optimizer(config.optim, params, 100)
    state = make_state(params, stats, optimizer, ema=True)
    return config, model, state, optimizer, batch


@functools.cache
def on(*sizes):
    """(state before, state after, what was reported) of one step on a mesh."""
    config, model, state, optimizer, batch = parts()
    mesh = make_mesh(*sizes)
    model = placed(model, activation_placer(config.train.activations, mesh))
    specs = state_specs(state, config.train.sharding, mesh)
    shardings = jax.tree.map(lambda s: NamedSharding(mesh, s), specs)
    objective = make_objective(config.objective, TREE, PAIR)
    step = make_step(model.apply, objective, optimizer, ema=0.9)
    before = jax.device_put(state, shardings)
    after = jax.jit(step)(before, Running.empty(REPORTED), place_batch(batch, mesh))
    return before, *after


def gradient(state):
    """From the first moment after one step without clipping: 0.1 x gradient."""
    pairs = zip(parameter_names(state), jax.tree.leaves(state), strict=True)
    return [x / 0.1 for n, x in pairs if "/mu/" in n]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("2", marks=pytest.mark.slow),
        "8",
        pytest.param("8 = 4 x 2", marks=pytest.mark.slow),
        "8 = 2 x 4",
        "8 = 2 x 2 x 2",
    ],
)
def test_any_mesh_gives_the_loss_the_gradient_and_the_update_of_one_device(name):
    (_, after, running), (before, after_, running_) = on(1, 1), on(*MESHES[name])
    for term in ("loss", "classification", "contrastive"):
        found, expected = (r.averages[term].compute() for r in (running_, running))
        assert float(expected) > 0.1
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert largest_difference(gradient(after_), gradient(after)) < 1e-5
    assert largest_difference(after_.stats, after.stats) < 1e-5
    assert largest_difference(after_.ema[1], after.ema[1]) < 1e-5
    # Adam divides by the size of a gradient, so a step is compared where there is one
    pairs = zip(
        *(jax.tree.leaves(x) for x in (after_.params, after.params, gradient(after))),
        strict=True,
    )
    for found, expected, g in pairs:
        gap = np.abs(np.asarray(found) - np.asarray(expected))
        assert gap[np.abs(np.asarray(g)) > 1e-4].max(initial=0) < 1e-5
        assert gap.max() < 2.1e-3, "nothing moves by more than the learning rate"
    split = [x for x in jax.tree.leaves(before.params) if not x.is_fully_replicated]
    assert bool(split) == (MESHES[name][1:] != (1,))


def test_tensor_splits_layers_and_shares_rows():
    config, model, state, _, batch = parts()
    mesh = make_mesh(2, 2, 2)
    specs = parameter_specs(state.params, config.train.sharding, mesh)
    leaves = jax.tree.leaves(specs, is_leaf=lambda x: isinstance(x, P))
    found = dict(zip(parameter_names(state.params), leaves, strict=True))
    layer = "text/layer0"
    assert found[f"{layer}/attention/qkv/kernel"] == P("fsdp", "tensor")
    assert found[f"{layer}/attention/qkv/bias"] == P("tensor")
    assert found[f"{layer}/attention/out/kernel"] == P("tensor", "fsdp")
    assert found[f"{layer}/attention/out/bias"] == P(None)
    assert {
        s.data.shape[0] for s in place_batch(batch, mesh)["group"].global_shards
    } == {4}
    # activations: a module's own name, rows where they are
    seen, place = {}, activation_placer(config.train.activations, mesh)

    def looking(name, x):
        y = place(name, x)
        seen[name] = y is not x
        return y

    rows = {k: NamedSharding(mesh, BATCH) for k in batch}
    apply = jax.jit(placed(model, looking).apply, in_shardings=(None, None, rows))
    text = apply.lower(state.params, state.stats, batch).as_text()
    assert {n for n, moved in seen.items() if moved} == {layer, f"{layer}/mlp_in"}
    assert text.count("sdy.sharding_constraint") == 2
    assert activation_placer(config.train.activations, make_mesh(1)) is None
    assert activation_placer((), mesh) is None


def test_a_process_reads_the_rows_of_its_devices():
    for sizes in ((8, 1, 1), (4, 2, 1), (2, 2, 2), (1, 1, 8)):
        found = process_rows(make_mesh(*sizes), 16)
        assert found.tolist() == list(range(16))
        assert batch_pieces(make_mesh(*sizes)) == sizes[0] * sizes[1]


def contrastive_parts():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 16, 8))
    x = jnp.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True), jnp.float32)
    group = jnp.arange(16, dtype=jnp.int32) // 2
    return x[0], x[1], group, jnp.ones(16)


def contrastive(text, image, group, weight):
    scale = jnp.float32(5.0)
    return weighted_mean(*info_nce(text, image, scale, Pairs(group, weight)))


def per_shard(mesh):
    """A mean over devices of losses with the negatives of their own shard only."""

    def local(text, image, group, weight):
        return jax.lax.pmean(contrastive(text, image, group, weight), ("data", "fsdp"))

    return jax.shard_map(local, mesh=mesh, in_specs=(BATCH,) * 4, out_specs=P())


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_negatives_come_from_the_whole_batch_not_from_the_shard(devices):
    mesh, args = make_mesh(devices), contrastive_parts()
    placed = tuple(jax.device_put(x, NamedSharding(mesh, BATCH)) for x in args)
    both = jax.jit(jax.value_and_grad(contrastive, argnums=(0, 1)))
    expected, found = both(*args), both(*placed)
    assert largest_difference(found, expected) < 1e-5
    wrong = float(jax.jit(per_shard(mesh))(*placed))
    same = wrong == pytest.approx(float(expected[0]), abs=1e-5)
    assert same == (devices == 1), "the test would see negatives of one shard"


def test_what_stands_for_absence_is_no_row_of_the_batch():
    """B + 1 rows would be uneven, and be passed on from device to device."""
    projection = Projection(width=8, absent="token", dtype=jnp.dtype("float32"))
    feature, kept = jnp.ones((16, 4)), jnp.arange(16) % 3 > 0
    params = projection.init(jax.random.key(0), feature, kept)

    def loss(params, feature, kept):
        present, shown = projection.apply(params, feature, kept)
        return jnp.square(present).sum() + jnp.square(shown).sum()

    mesh = make_mesh(8, 1)
    rows, whole = NamedSharding(mesh, BATCH), NamedSharding(mesh, P())
    split = jax.jit(jax.grad(loss), in_shardings=(whole, rows, rows))
    text = split.lower(params, feature, kept).compile().as_text()
    assert "all-reduce" in text
    assert "collective-permute" not in text


def test_every_parameter_has_exactly_one_rule():
    config = tiny_config(("title", "brand", "image"))
    _, params, _, _ = tiny_model(config, TREE)
    names, mesh = parameter_names(params), make_mesh(2, 4)
    assert len(set(names)) == len(names) == len(jax.tree.leaves(params))
    found = parameter_specs(params, config.train.sharding, mesh)
    assert jax.tree.structure(found) == jax.tree.structure(params)
    for name in names:
        first = [a for p, a in config.train.sharding if re.fullmatch(p, name)][0]
        assert first_match(name, config.train.sharding) == (first,)
    with pytest.raises(ValueError, match="no rule covers the parameter 'fusion/"):
        parameter_specs(params, ((r"(?!fusion).*", ()),), mesh)


def test_rules_name_the_last_dimensions_and_leave_whole_what_does_not_divide():
    params = {
        "conv": jnp.zeros((3, 3, 8, 12)),
        "odd": jnp.zeros((4, 11)),
        "t": jnp.ones(()),
    }
    specs = parameter_specs(params, ((".*", ("data", "fsdp")),), make_mesh(2, 4))
    assert specs["conv"] == P(None, None, "data", "fsdp")
    assert specs["odd"] == P("data", None)
    assert specs["t"] == P()


@pytest.mark.parametrize("name", ["adamw", "adam"])
def test_moments_and_averages_lie_as_their_parameters(name):
    config, _, state, _, _ = parts()
    optim = config.optim.copy_and_resolve_references()
    optim.update(name=name, rules=(("text.*", 0.0, False), (".*", 1.0, True)))
    optimizer = make_optimizer(optim, state.params, 10)
    state = make_state(state.params, state.stats, optimizer, ema=True)
    rules, mesh = config.train.sharding, make_mesh(2, 4)
    is_spec = lambda x: isinstance(x, P)  # noqa: E731
    known = dict(
        zip(
            parameter_names(state.params),
            jax.tree.leaves(
                parameter_specs(state.params, rules, mesh), is_leaf=is_spec
            ),
            strict=True,
        )
    )
    specs = jax.tree.leaves(state_specs(state, rules, mesh), is_leaf=is_spec)
    pairs = dict(zip(parameter_names(state), specs, strict=True))
    moments = {}
    for full, spec in pairs.items():
        found = re.fullmatch(r"(?:opt_state/.*/(mu|nu)|(ema)/0|(params))/(.*)", full)
        if found:
            moments.setdefault(found[1] or found[2] or found[3], set()).add(found[4])
            assert spec == known[found[4]], full
        else:
            assert spec == P(), full
    trained = {n for n in known if not n.startswith("text")}
    assert moments == {
        "mu": trained,
        "nu": trained,
        "ema": set(known),
        "params": set(known),
    }
    assert {P(None, "fsdp"), P("tensor", "fsdp")} <= set(known.values())


def test_a_batch_is_split_over_all_devices():
    batch = parts()[-1]
    placed = place_batch(batch, make_mesh(4, 2))
    for name, x in placed.items():
        assert {s.data.shape[0] for s in x.addressable_shards} == {2}
        np.testing.assert_array_equal(x, batch[name])


def test_a_mesh_takes_the_devices_it_is_given():
    assert tuple(make_mesh().shape.items()) == (("data", 8), ("fsdp", 1), ("tensor", 1))
    assert tuple(make_mesh(0, 4).shape.values()) == (2, 4, 1)
    assert tuple(make_mesh(0, 2, 2).shape.values()) == (2, 2, 2)
    assert make_mesh(3).size == 3


@pytest.mark.parametrize("shape", [(9, 1), (4, 4), (0, 16), (2, 2, 4)])
def test_a_mesh_that_is_too_large_is_refused(shape):
    with pytest.raises(ValueError, match="there are 8"):
        make_mesh(*shape)
