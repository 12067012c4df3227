"""SimCLR: NT-Xent, two random views, and what a picture tower learns that way."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from encoders import extraction, path_of
from jax.sharding import NamedSharding
from runs import metric_lines, report, run_config, sentence, train_run
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.preprocessing import StandardScaler
from tiny import ragged_tree, tiny_batch, tiny_config, tiny_model, tiny_spec

from hsjax.data.augment import STRENGTHS, augment
from hsjax.data.batches import evaluation_batches
from hsjax.data.examples import Augmentation, assemble
from hsjax.data.prepare import read_catalogue
from hsjax.data.store import FeatureStore
from hsjax.inference.encoder_files import export_run
from hsjax.inference.predict import load_run
from hsjax.losses import nt_xent, weighted_mean
from hsjax.models.published_files import PublishedError
from hsjax.sharding import BATCH, make_mesh
from hsjax.tasks.registry import extract
from hsjax.trained.training_data import examples_at, training_parts

ROWS, WIDTH, TEMPERATURE = 7, 5, 0.3
BATCH_SIZE = 32
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


@pytest.fixture(scope="module")
def simclr_run(tmp_path_factory):
    """A run without a label whose fusion is the tower's own vector."""
    changes = {
        "data.synthetic.missing_image": 0.0,
        "data.image.augment": "low",
        "data.batch_size": BATCH_SIZE,
        "model.image.stages": (1, 1),
        "model.image.widths": (16, 32),
        "model.fusion.of": "feature",
        "model.fusion.norm": "raw",
        "optim.learning_rate": 3e-3,
        "optim.schedule": "constant",
        "train.steps": 40,
        "train.eval_every": 40,
        "train.log_every": 10,
    }
    folder = tmp_path_factory.mktemp("simclr") / "run"
    train_run(run_config({**SIMCLR, **changes}), folder)
    return folder


@pytest.fixture(scope="module")
def tower_vectors(simclr_run):
    """The catalogue, and (N, D) of its pictures: the tower as drawn, and as trained."""
    run = load_run(simclr_run)
    key, padding = jax.random.key(run.config.seed), run.spec.padding(2)
    start = jax.jit(run.model.init)(key, padding)
    catalogue = read_catalogue(run.config)
    examples = examples_at(run.config, catalogue, np.arange(len(catalogue.records)))
    batches = evaluation_batches(examples, batch_size=64)
    batches = [batches[k] for k in range(len(batches))]
    apply = jax.jit(lambda state, batch: run.model.apply(*state, batch)[0].fused)
    states = (start, (run.params, run.stats))
    found = [np.concatenate([apply(s, x) for x in batches]) for s in states]
    return catalogue, *(x[: len(examples)] for x in found)


def probe(x, labels, groups):
    """Accuracy of a linear classifier on products that it has not seen."""
    x = StandardScaler().fit_transform(x)
    model, folds = LogisticRegression(max_iter=1000), GroupKFold(4)
    return (
        cross_val_predict(model, x, labels, groups=groups, cv=folds) == labels
    ).mean()


def test_simclr_learns_what_pictures_are_of(simclr_run, tower_vectors):
    """NT-Xent falls from chance, and headings become easier to tell than they were."""
    lines = metric_lines(simclr_run)
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    chance = np.log(2 * BATCH_SIZE - 1)  # of one picture among all others
    assert losses[0] < chance
    assert losses[-1] < chance - 0.7
    assert losses == sorted(losses, reverse=True)
    catalogue, *vectors = tower_vectors
    labels, groups = catalogue.labels[:, 1], catalogue.groups
    before, after = (probe(x, labels, groups) for x in vectors)
    assert after > np.bincount(labels).max() / len(labels) + 0.15
    assert after > before + 0.06, "the tower as it was drawn"


def test_its_tower_makes_features_elsewhere(simclr_run, tower_vectors, shop, tmp_path):
    """Exported and read as any encoder, it makes the vectors that it made at home."""
    metrics = report(simclr_run)["metrics"]
    assert not [name for name in metrics if "accuracy" in name]
    told = export_run(simclr_run, tmp_path / "tower")
    assert "mean" in told[0]
    extract(extraction(shop, tmp_path / "tower", "image"), tmp_path / "features")
    store = FeatureStore(tmp_path / "features")
    assert store.facts["family"] == "hsjax-resnet"
    catalogue, _, own = tower_vectors
    rows = store.rows([r.image_key for r in catalogue.records])
    found = rows >= 0  # of the shop, some of whose products have no picture
    assert found.mean() > 0.9
    np.testing.assert_allclose(store.take(rows)[found], own[found], atol=5e-3)
    with pytest.raises(PublishedError, match="--tower=title: .* it has trained image"):
        export_run(simclr_run, tmp_path / "x", modality="title")


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
