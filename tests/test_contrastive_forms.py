"""Contrastive losses in blocks and around a ring of devices, against the dense ones."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from runs import run_config
from test_accumulate import PAIR, assert_same_step, one_step, whole, world
from tiny import ragged_tree, random_labels

from hsjax.benchmarks.loss import KINDS as AT_SCALE
from hsjax.benchmarks.loss import LARGE, bench_loss, compiled, temporary_mib
from hsjax.losses import CONTRASTS, FORMS, Pairs, kin_of, make_contrast, weighted_mean
from hsjax.settings.choices import check_choices
from hsjax.sharding import BATCH, make_mesh
from hsjax.train.objective import make_objective
from hsjax.train.workdir import ConfigError

TREE = ragged_tree(0)
ROWS, WIDTH = 40, 5
MESHES = {"one": (1, 1), "eight": (8, 1), "four by two": (4, 2)}
# form, columns of a block, devices: 40 rows in blocks of 7, 5 rows of a device in 2
WAYS = {
    "chunked": ("chunked", 7, "one"),
    "chunked on eight": ("chunked", 7, "eight"),
    "one block": ("chunked", 100, "one"),
    "ring": ("ring", 2, "eight"),
    "ring of four by two": ("ring", 100, "four by two"),
    "ring of one": ("ring", 7, "one"),
}
OPTIONS = {
    "plain": {},
    "t2i": {"direction": "t2i"},
    "i2t": {"direction": "i2t"},
    "branch": {"branch": True},
    "hardest": {"hardest": 3},
}


@functools.cache
def batch(seed=0):
    """Twins on other devices and in other blocks, some of another label or weight 0."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, ROWS, WIDTH))
    x = jnp.asarray(x / np.linalg.norm(x, axis=2, keepdims=True), jnp.float32)
    group = jnp.asarray(rng.integers(0, 25, ROWS), jnp.int32)
    weight = jnp.asarray(rng.choice([0.0, 0.5, 2.0], ROWS), jnp.float32)
    labels = jnp.asarray(random_labels(TREE, ROWS, 1))
    return *x, jnp.float32(8.0), jnp.float32(-1.5), group, weight, labels


def contrast(kind, form="dense", size=1, mesh=None, **options):
    """`(text, image, scale, bias, group, weight, labels) -> (value, weight)`."""
    loss = make_contrast(kind, form, size=size, mesh=mesh, axes=BATCH[0])

    def values(text, image, scale, bias, group, weight, labels):
        kin = kin_of(labels, TREE)
        pairs = Pairs(group, weight, kin=kin, softness=0.5, bias=bias, **options)
        return loss(text, image, scale, pairs)

    return values


def with_gradients(values):
    """((loss, (value, weight)), gradients of both modalities, scale and bias)."""

    def loss(*args):
        value, weight = values(*args)
        # what a row without weight holds is nobody's business
        shown = jnp.where(weight > 0, value, 0.0), weight
        return weighted_mean(value, weight), shown

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3), has_aux=True))


@functools.cache
def dense(kind, options="plain"):
    return with_gradients(contrast(kind, **OPTIONS[options]))(*batch())


def placed(args, mesh):
    """Rows split over the mesh, numbers on all of it."""
    rows, every = NamedSharding(mesh, BATCH), NamedSharding(mesh, P())
    return tuple(jax.device_put(x, rows if x.ndim else every) for x in args)


def assert_equal(found, expected):
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


CASES = [(kind, "plain", way) for kind in AT_SCALE for way in WAYS]
CASES += [(kind, x, "ring") for kind in AT_SCALE for x in OPTIONS if x != "plain"]
CASES += [(kind, "plain", "ring") for kind in CONTRASTS if kind not in AT_SCALE]
TWO = ("chunked", "ring of four by two")
SLOW = [(kind, x, way) for kind in CONTRASTS for x in OPTIONS for way in TWO]
SLOW = [pytest.param(*x, marks=pytest.mark.slow) for x in SLOW if x not in CASES]


@pytest.mark.parametrize(("kind", "options", "way"), [*CASES, *SLOW])
def test_value_and_gradient_are_those_of_the_dense_loss(kind, options, way):
    form, size, devices = WAYS[way]
    mesh = make_mesh(*MESHES[devices])
    values = contrast(kind, form, size, mesh, **OPTIONS[options])
    found = with_gradients(values)(*placed(batch(), mesh))
    expected = dense(kind, options)
    assert_equal(found, expected)
    assert all(np.abs(x).max() > 1e-3 for x in expected[1][:3]), "it teaches"
    assert (abs(float(expected[1][3])) > 1e-3) == (kind == "sigmoid")


@pytest.mark.parametrize("form", ["chunked", "ring"])
@pytest.mark.parametrize("kind", CONTRASTS)
def test_what_is_absent_or_alone(kind, form):
    """Rows of weight 0 may hold anything, one product alone has no negatives."""
    mesh = make_mesh(8)
    values = jax.jit(contrast(kind, form, 3, mesh))
    text, image, *rest, weight, labels = batch()
    gone = np.flatnonzero(np.asarray(weight) == 0)
    junk = text.at[gone[0]].set(jnp.nan), image.at[gone[1]].set(jnp.inf)
    found = weighted_mean(*values(*placed((*junk, *rest, weight, labels), mesh)))
    assert float(found) == pytest.approx(float(dense(kind)[0][0]), abs=1e-5)
    rest[-1] = jnp.zeros_like(rest[-1])
    value, weight = values(*placed((text, image, *rest, weight, labels), mesh))
    assert not weight.any()
    assert np.isfinite(value).all()
    gradient = with_gradients(contrast(kind, form, 3, mesh))
    _, grads = gradient(*placed((text, image, *rest, weight, labels), mesh))
    assert not any(np.asarray(x).any() for x in grads)


@pytest.mark.parametrize("kind", AT_SCALE)
def test_in_bfloat16_at_the_highest_scale(kind):
    text, image, *_, group, weight, labels = batch()
    half = [x.astype(jnp.bfloat16) for x in (text, image)]
    args = (*half, jnp.float32(100.0), jnp.float32(-10.0), group, weight, labels)
    expected = with_gradients(contrast(kind))(*args)
    found = with_gradients(contrast(kind, "chunked", 7))(*args)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert x.dtype == y.dtype
        assert np.isfinite(np.asarray(x, np.float32)).all()
        gap = np.abs(np.asarray(x, np.float32) - np.asarray(y, np.float32)).max()
        assert gap < 0.01 * np.abs(np.asarray(y, np.float32)).max() + 1e-6


FORM = "objective__contrastive_form"
STEPS = {
    "chunked": {FORM: "chunked", "objective__contrastive_chunk": 5},
    "ring": {FORM: "ring", "objective__contrastive_chunk": 3},
}


SHOWN = [("info_nce", "ring", 1), ("info_nce", "ring", 4), ("sigmoid", "chunked", 4)]
REST = [(k, f, n) for k in AT_SCALE for f in STEPS for n in (1, 4)]
REST = [pytest.param(*x, marks=pytest.mark.slow) for x in REST if x not in SHOWN]


@pytest.mark.parametrize(("kind", "form", "parts"), [*SHOWN, *REST])
def test_a_training_step_is_that_of_the_dense_loss_on_one_device(kind, form, parts):
    """The batch in one part, or in several as GradCache computes it."""
    step, arguments = one_step(world(kind, **STEPS[form]), parts=parts, mesh=(8, 1))
    program = step.lower(*arguments).compile()
    assert_same_step(jax.device_get(program(*arguments)), whole(kind))
    blocks = {"chunked": r"f32\[4,5\]", "ring": r"f32\[4,2\]"}[form]
    assert re.search(blocks, program.as_text())
    assert not re.search(r"f32\[(32,32|4,32)\]", program.as_text()), "all pairs"


def test_columns_go_round_and_are_nowhere_gathered():
    mesh, text = make_mesh(8), {}
    for form in ("chunked", "ring"):
        text[form] = compiled("info_nce", form, 64, 8, mesh).as_text()
    assert "all-gather" in text["chunked"]
    assert "collective-permute" in text["ring"]
    assert not re.search("all-gather|all-to-all", text["ring"])


@pytest.mark.parametrize("kind", AT_SCALE)
def test_memory_grows_as_the_batch_does_and_not_as_its_square(kind):
    for form, devices, least, most in (
        ("dense", 1, 3.5, 4.5),
        ("chunked", 1, 1.5, 2.2),
        ("ring", 8, 1.5, 2.2),
    ):
        mesh = make_mesh(devices)
        sizes = [
            temporary_mib(compiled(kind, form, rows, 64, mesh)) for rows in (2048, 4096)
        ]
        assert least < sizes[1] / sizes[0] < most, (form, sizes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", AT_SCALE)
@pytest.mark.parametrize(("form", "devices"), [("chunked", 1), ("ring", 8)])
def test_a_batch_of_32768_needs_less_than_a_gib(kind, form, devices):
    mesh = make_mesh(devices)
    found = temporary_mib(compiled(kind, form, LARGE, 1024, mesh))
    assert found < 1024
    assert temporary_mib(compiled(kind, "dense", LARGE, 1024, mesh)) > 4 * found


def test_what_a_form_needs():
    assert tuple(FORMS) == ("dense", "chunked", "ring")
    changes = {"objective.contrastive_chunk": 0}
    with pytest.raises(ConfigError, match="contrastive_chunk is 0; it must be 1 or"):
        check_choices(run_config(changes))
    changes = {"objective.contrastive_form": "rings"}
    with pytest.raises(ConfigError, match="ring"):
        check_choices(run_config(changes))
    config = world(**STEPS["ring"])[0].objective
    with pytest.raises(ValueError, match="a ring needs the mesh"):
        make_objective(config, TREE, PAIR)
    config.contrastive = 0.0  # not traced at all
    make_objective(config, TREE, PAIR)
    rows = tuple(x[:39] if x.ndim else x for x in batch())
    with pytest.raises(ValueError, match="39 rows cannot go around 8 devices"):
        contrast("info_nce", "ring", 7, make_mesh(8))(*rows)


@pytest.mark.slow
def test_the_bench_compares_with_the_dense_loss():
    found = bench_loss(rows=64, chunk=8, rounds=2)
    assert (found["form"], found["devices"]) == ("ring", 8)
    assert found["ratio"] == found["info_nce"]["times_faster"]
    assert found["ours"] == pytest.approx(64 / found["info_nce"]["ours_seconds"])
    for kind in AT_SCALE:
        assert found[kind]["largest_difference"] < 1e-5
        told = found[kind]["temporary_mib"]
        assert told[f"ours at {LARGE}"] < 1024 < told[f"peer at {LARGE}"]
    with pytest.raises(ConfigError, match="--pairs is 63, no multiple of 8 devices"):
        bench_loss(rows=63, chunk=8, rounds=2)
