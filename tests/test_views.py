"""SimCLR: NT-Xent, two random views, and what a picture tower learns that way."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from encoders import extraction, path_of
from jax.sharding import NamedSharding
from runs import report, run_config, sentence, train_run
from tiny import ragged_tree, tiny_batch, tiny_config, tiny_model, tiny_spec

from hsjax.data.augment import STRENGTHS, augment
from hsjax.data.examples import Augmentation, assemble
from hsjax.data.prepare import read_catalogue
from hsjax.data.store import FeatureStore
from hsjax.inference.encoder_files import export_run
from hsjax.losses import nt_xent, weighted_mean
from hsjax.models.published_files import PublishedError
from hsjax.opening import training_parts
from hsjax.sharding import BATCH, make_mesh
from hsjax.tasks import extract

ROWS, WIDTH, TEMPERATURE = 7, 5, 0.3
SIMCLR = {
    "model.modalities": ("image",),
    "objective.classification": 0.0,
    "objective.contrastive": 0.0,
    "objective.self_supervised": 1.0,
    "data.image.views": 2,
    "data.image.augment": "high",
    "train.monitor": "loss",
}


def views(seed=0, rows=ROWS):
    x = np.random.default_rng(seed).normal(size=(rows, 2, WIDTH))
    x /= np.linalg.norm(x, axis=2, keepdims=True)
    return jnp.asarray(x, jnp.float32)


def loss(x, group=None, weight=None):
    group = jnp.arange(len(x)) if group is None else jnp.asarray(group)
    weight = jnp.ones(len(x)) if weight is None else jnp.asarray(weight)
    return nt_xent(x, group=group, weight=weight, temperature=TEMPERATURE)


def test_nt_xent_equals_optax():
    x = views()
    z, labels = x.reshape(-1, WIDTH), jnp.repeat(jnp.arange(ROWS), 2)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        expected = optax.losses.ntxent(z, labels, TEMPERATURE)
    np.testing.assert_allclose(weighted_mean(*loss(x)), expected, rtol=1e-5)


def test_what_has_no_weight_does_not_exist_and_duplicates_are_no_negatives():
    x = views()
    value, weight = loss(x, weight=[1.0] * 5 + [0.0] * 2)
    fewer, _ = loss(x[:5])
    np.testing.assert_allclose(value[:5], fewer, rtol=1e-5)
    assert weight.tolist() == [1.0] * 5 + [0.0] * 2
    twice, _ = loss(x, group=[0, 0, 1, 2, 3, 4, 5])
    without, _ = loss(jnp.delete(x, 1, axis=0))
    np.testing.assert_allclose(twice[0], without[0], rtol=1e-5)
    _, alone = loss(x, group=[0] * ROWS)
    assert not alone.any()


@pytest.mark.parametrize("devices", [2, 8])
def test_negatives_come_from_the_whole_batch_on_any_number_of_devices(devices):
    x, group = views(rows=16), jnp.asarray([0, 0, *range(1, 15)])
    value_and_grad = jax.jit(
        jax.value_and_grad(lambda x, group: weighted_mean(*loss(x, group)))
    )
    alone, gradient = value_and_grad(x, group)
    spread = NamedSharding(make_mesh(devices), BATCH)
    found, theirs = value_and_grad(*jax.device_put((x, group), spread))
    np.testing.assert_allclose(found, alone, rtol=1e-5)
    np.testing.assert_allclose(theirs, gradient, rtol=1e-4, atol=1e-6)
    shard = weighted_mean(*loss(x[: 16 // devices], group[: 16 // devices]))
    assert abs(float(shard) - float(alone)) > 0.1


def test_a_view_is_drawn_from_its_numbers_alone_and_strength_counts():
    picture = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)

    def view(name, seed):
        found = augment(picture, (9, 8), STRENGTHS[name], np.random.default_rng(seed))
        assert found.shape == (9, 8, 3)
        assert found.dtype == np.uint8
        return found.astype(float)

    assert (view("high", 1) == view("high", 1)).all()
    assert (view("high", 1) != view("high", 2)).any()
    whole = np.full((12, 10, 3), 0) + picture.mean(axis=(0, 1))
    apart = {
        name: np.mean(
            [
                np.abs(view(name, s).mean(axis=(0, 1)) - whole[0, 0]).mean()
                for s in range(40)
            ]
        )
        for name in STRENGTHS
    }
    assert apart["low"] < apart["middle"] < apart["high"]


def test_a_picture_of_one_colour_keeps_it_where_colours_are_not_changed():
    plain = np.full((20, 20, 3), 77, np.uint8)
    still = STRENGTHS["high"]._replace(jitters=0.0)
    for seed in range(5):
        assert (augment(plain, (8, 8), still, np.random.default_rng(seed)) == 77).all()


def test_batches_hold_two_views_that_differ(shop):
    config, index = run_config({**path_of(shop), **SIMCLR}), np.arange(6)
    train = training_parts(config, read_catalogue(config)).train
    assert train.spec.image[0] == 2
    numbers = np.arange(10, 16)
    first, again, later = (
        assemble(train, n, index, Augmentation(seed=3))
        for n in (numbers, numbers, numbers + 6)
    )
    there = first["has_image"]
    assert there.any()
    np.testing.assert_array_equal(first["image"], again["image"])
    for x, y in (
        (first["image"][:, 0], first["image"][:, 1]),
        (first["image"], later["image"]),
    ):
        assert (x != y)[there].any(axis=tuple(range(1, x.ndim))).all()
    scored = assemble(train, index, index)
    middle = assemble(train, numbers, index)
    np.testing.assert_array_equal(scored["image"][:, 0], middle["image"][:, 0])
    assert (scored["image"][:, 1] != scored["image"][:, 0])[there].any()


def test_the_first_view_alone_is_the_picture():
    """The second one changes what the loss sees, and no answer."""
    tree = ragged_tree(0)
    config = tiny_config(("image",), objective__self_supervised=1.0)
    spec = tiny_spec(config, tree, image=(2, 13, 11))
    model, params, stats, _ = tiny_model(config, tree, ROWS, image=(2, 13, 11))
    batch = tiny_batch(spec, tree, ROWS)
    changed = {**batch, "image": batch["image"].copy()}
    changed["image"][:, 1] += 100
    apply = jax.jit(model.apply)
    a, b = (apply(params, stats, x)[0] for x in (batch, changed))
    for x, y in zip(a.logits, b.logits, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(a.views[:, 0], b.views[:, 0], rtol=1e-4, atol=1e-5)
    assert np.abs(a.views[:, 1] - b.views[:, 1]).max() > 1e-3
    np.testing.assert_allclose(np.linalg.norm(a.views, axis=2), 1, rtol=1e-5)


def test_simclr_learns_and_its_tower_makes_features_elsewhere(shop, tmp_path):
    """Train without a label, export the tower, extract, train a head on that."""
    steps = {"train.steps": 12, "train.eval_every": 6, "optim.learning_rate": 3e-3}
    config = run_config({**path_of(shop), **SIMCLR, **steps})
    train_run(config, tmp_path / "run")
    lines = report(tmp_path / "run")
    assert lines["metrics"] == {} or all("accuracy" not in k for k in lines["metrics"])
    told = export_run(tmp_path / "run", tmp_path / "tower")
    assert "mean" in told[0]
    extract(extraction(shop, tmp_path / "tower", "image"), tmp_path / "features")
    store = FeatureStore(tmp_path / "features")
    assert store.facts["family"] == "hsjax-resnet"
    on_them = {"data.features.image": str(tmp_path / "features"), "train.steps": 4}
    on_them |= {"model.modalities": ("image",), "objective.contrastive": 0.0}
    head = run_config({**path_of(shop), **on_them})
    train_run(head, tmp_path / "head")
    assert 0 <= report(tmp_path / "head")["metrics"]["level1/accuracy"] <= 1
    with pytest.raises(PublishedError, match="--tower=title: .* it has trained image"):
        export_run(tmp_path / "run", tmp_path / "x", modality="title")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data.image.views": 1}, "set data.image.views=2"),
        ({"data.image.augment": ""}, "set data.image.views=2 and data.image.augment"),
        (
            {
                "objective.self_supervised": 0.0,
                "objective.classification": 1.0,
                "train.monitor": "hierarchical/f1",
            },
            "nothing reads the second view",
        ),
    ],
)
def test_half_a_simclr_is_refused(shop, tmp_path, changes, told):
    config = run_config({**path_of(shop), **SIMCLR, **changes})
    assert told in sentence(config, tmp_path)
