"""Laws of the whole model with one, two and three modalities."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import (
    bitwise_equal,
    largest_difference,
    ragged_tree,
    tiny_batch,
    tiny_config,
    tiny_model,
    tiny_spec,
)

from hsjax.losses import hierarchical_cross_entropy, weighted_mean
from hsjax.models.joint import drop_modalities
from hsjax.settings.choices import check_choices
from hsjax.train.objective import make_objective
from hsjax.train.workdir import ConfigError

TREE = ragged_tree(0)
ROWS = 5
BATCH_NORM = {"model__image__norm": "batch", "model__head__norm": "batch"}
SETTINGS = {
    "title": (("title",), {}),
    "image": (("image",), BATCH_NORM),
    "pair": (("title", "image"), {}),
    "three": (
        ("title", "brand", "image"),
        {"model__absent": "zeros", "objective__contrastive": 1.0},
    ),
}
every_model = pytest.mark.parametrize("name", SETTINGS)


@functools.cache
def world(name):
    """(jitted `lesson(params, batch)` without a key, model, params, stats, batch)."""
    names, changes = SETTINGS[name]
    config = tiny_config(names, **{"objective__contrastive": 0.0} | changes)
    model, params, stats, batch = tiny_model(config, TREE, ROWS)
    objective = make_objective(config.objective, TREE, names)

    def loss(params, batch):
        outputs, _ = model.apply(params, stats, batch)
        return objective(outputs, batch)[0], outputs

    lesson = jax.jit(jax.value_and_grad(loss, has_aux=True))
    return lesson, model, params, stats, batch


def others(name, seed=9):
    config = tiny_config(SETTINGS[name][0])
    return tiny_batch(tiny_spec(config, TREE), TREE, ROWS, seed)


def mixed(batch, other, keep):
    return {k: np.concatenate([v[:keep], other[k][keep:]]) for k, v in batch.items()}


def rows(outputs, index):
    """The scale has no rows."""
    return jax.tree.map(lambda x: x[index], outputs._replace(scale=None))


@every_model
def test_a_row_does_not_depend_on_its_batch(name):
    lesson, model, params, stats, batch = world(name)
    (_, outputs), _ = lesson(params, batch)
    (_, again), _ = lesson(params, mixed(batch, others(name), 2))
    assert bitwise_equal(rows(outputs, slice(2)), rows(again, slice(2)))
    assert (np.abs(outputs.fused[2:] - again.fused[2:]).max(axis=1) > 1e-3).all()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(outputs))


@every_model
def test_without_a_key_the_answer_is_deterministic(name):
    lesson, _, params, _, batch = world(name)
    assert bitwise_equal(lesson(params, batch), lesson(params, batch))


@every_model
def test_what_a_missing_modality_holds_does_not_matter(name):
    lesson, _, params, _, batch = world(name)
    junk = others(name)
    for gone in SETTINGS[name][0]:
        here = np.array([True, False, True, False, True])
        without, noise = (b | {f"has_{gone}": here} for b in (batch, dict(batch)))
        for key in (gone, f"{gone}_ids", f"{gone}_mask"):
            if key in noise:
                lift = here.reshape(-1, *(1,) * (batch[key].ndim - 1))
                noise[key] = np.where(lift, batch[key], junk[key])
        found, again = lesson(params, without), lesson(params, noise)
        assert bitwise_equal(found, again)
        (_, present), _ = lesson(params, batch)
        (_, absent), _ = found
        changed = np.abs(present.fused - absent.fused).max(axis=1) > 1e-3
        assert changed.tolist() == (~here).tolist()


@every_model
def test_with_nothing_present_the_answer_is_finite_and_always_the_same(name):
    lesson, _, params, _, batch = world(name)
    nothing = {f"has_{m}": np.zeros(ROWS, bool) for m in SETTINGS[name][0]}
    (loss, outputs), gradient = lesson(params, batch | nothing)
    parts = jax.tree.leaves((loss, outputs, gradient))
    assert all(np.isfinite(x).all() for x in parts)
    for x in outputs.logits:
        np.testing.assert_array_equal(x, jnp.broadcast_to(x[:1], x.shape))


def test_a_longer_text_field_with_the_same_words_changes_nothing():
    lesson, model, params, stats, batch = world("title")
    (_, outputs), _ = lesson(params, batch)
    short = int(batch["title_mask"].sum(axis=1).max()) - 1
    cut = batch | {k: batch[k][:, :short] for k in ("title_ids", "title_mask")}
    fits = batch["title_mask"].sum(axis=1) <= short
    again, _ = jax.jit(model.apply)(params, stats, cut)
    assert fits.any()
    for a, b in zip(outputs.logits, again.logits, strict=True):
        np.testing.assert_allclose(a[fits], b[fits], rtol=1e-5, atol=1e-5)


@functools.cache
def training():
    """(jitted `apply` with a key, stats, batch): BatchNorm and modality dropout."""
    config = tiny_config(model__modality_dropout=0.7, **BATCH_NORM)
    model, params, stats, batch = tiny_model(config, TREE, ROWS)

    def train(batch, key):
        return model.apply(params, stats, batch, dropout_key=key)

    return jax.jit(train), stats, batch


def test_modality_dropout_follows_its_key_and_leaves_embeddings_alone():
    train, _, batch = training()
    keys = jax.random.split(jax.random.key(1), 3)
    answers = [train(batch, key)[0] for key in keys]
    assert bitwise_equal(answers[0], train(batch, keys[0])[0])
    assert not bitwise_equal(answers[0].fused, answers[1].fused)
    assert not bitwise_equal(answers[0].logits, answers[1].logits)
    for other in answers[1:]:
        assert bitwise_equal(other.text, answers[0].text)
        assert bitwise_equal(other.image, answers[0].image)


def test_a_training_batch_without_a_picture_has_a_finite_gradient_and_no_statistics():
    """At variance 0 each BatchNorm would multiply by 316, and gradients overflow."""
    config = tiny_config(**BATCH_NORM | {"model__image__stages": (2, 2)})
    model, params, stats, batch = tiny_model(config, TREE, ROWS)
    batch = jax.tree.map(jnp.asarray, batch | {"has_image": np.zeros(ROWS, bool)})

    def loss(params):
        outputs, after = model.apply(
            params, stats, batch, dropout_key=jax.random.key(0)
        )
        return sum(jnp.square(x).sum() for x in outputs.logits), after

    (value, after), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((value, gradient)))
    assert bitwise_equal(after["image"], stats["image"])


def test_batch_statistics_ignore_padding_and_absent_pictures():
    train, stats, batch = training()
    key, noise = jax.random.key(1), others("pair")
    padded = batch | {"weight": np.array([1, 1, 0, 1, 0], np.float32)}
    junk = padded | {
        k: np.concatenate([batch[k][:4], noise[k][4:]]) for k in ("image", "title_ids")
    }
    after = train(padded, key)[1]
    assert bitwise_equal(after, train(junk, key)[1])
    assert not bitwise_equal(after, train(batch, key)[1])
    assert not bitwise_equal(after, stats)
    seen = np.array([True, True, False, True, True])
    gone = batch | {"has_image": seen}
    black = gone | {"image": batch["image"] * seen[:, None, None, None, None]}
    assert bitwise_equal(train(gone, key)[1], train(black, key)[1])
    # an absent picture counts no more than padding does
    light = batch | {"weight": seen.astype(np.float32)}
    found, expected = (train(b, key)[1]["image"] for b in (gone, light))
    assert bitwise_equal(found, expected)


def test_modality_dropout_never_drops_the_last_one():
    present = np.random.default_rng(0).random((4000, 3)) < 0.6
    shares, key = (0.9,) * 3, jax.random.key(0)
    kept = np.asarray(drop_modalities(jnp.asarray(present), shares, key))
    assert not (kept & ~present).any()
    np.testing.assert_array_equal(kept.any(axis=1), present.any(axis=1))
    alone = present.sum(axis=1) == 1
    np.testing.assert_array_equal(kept[alone], present[alone])
    everything = jnp.ones((4000, 2), bool)
    for share in (0.0, 0.3, 1.0):
        both = drop_modalities(everything, (share,) * 2, jax.random.key(1)).all(axis=1)
        assert float(both.mean()) == pytest.approx((1 - share) ** 2, abs=0.04)
    kept = np.asarray(drop_modalities(everything, (0.2, 0.6), jax.random.key(1)))
    # where both would go, with 0.2 * 0.6, either stays as often
    alone = [(kept[:, i] & ~kept[:, 1 - i]).mean() for i in range(2)]
    assert alone == pytest.approx([0.8 * 0.6 + 0.06, 0.4 * 0.2 + 0.06], abs=0.03)


def test_pictures_may_be_dropped_more_often_than_text():
    _, stats, batch = training()
    config = tiny_config(model__modality_dropout_image=1.0, **BATCH_NORM)
    model, params, _, _ = tiny_model(config, TREE, ROWS)
    batch = batch | {"has_title": np.ones(ROWS, bool)}
    key = jax.random.key(0)
    train = jax.jit(model.apply)
    found, _ = train(params, stats, batch, dropout_key=key)
    unseen, _ = train(params, stats, batch | {"has_image": np.zeros(ROWS, bool)})
    seen, _ = train(params, stats, batch)
    assert largest_difference(found.fused, unseen.fused) < 1e-5
    assert largest_difference(found.fused, seen.fused) > 1e-2


def test_the_loss_at_step_0_is_the_mean_of_the_sum_of_log_siblings():
    lesson, model, _, _, batch = world("title")
    params, _ = jax.jit(model.init)(jax.random.key(0), batch)
    labels = batch["labels"].copy()
    labels[1, 1:] = -1
    (loss, _), _ = lesson(params, batch | {"labels": labels})
    expected = 0.0
    for row in labels:
        for level, label in enumerate(row):
            if label >= 0:
                parents = TREE.parents[level]
                expected += np.log((parents == parents[label]).sum()) / ROWS
    assert expected > 1
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_contrastive_weight_0_is_b4():
    lesson, model, params, stats, batch = world("pair")

    def b4(params, batch):
        outputs, _ = model.apply(params, stats, batch)
        pair = hierarchical_cross_entropy(
            outputs.logits, batch["labels"], TREE, weight=batch["weight"]
        )
        return weighted_mean(*pair)

    (loss, _), gradient = lesson(params, batch)
    theirs = jax.jit(jax.value_and_grad(b4))(params, batch)
    assert bitwise_equal((loss, gradient), theirs)
    assert any(np.any(x) for x in jax.tree.leaves(gradient["image"]))


@pytest.mark.parametrize("name", ["title", "image"])
def test_bfloat16_is_close_to_float32(name):
    lesson, _, params, stats, batch = world(name)
    names, changes = SETTINGS[name]
    config = tiny_config(names, model__dtype="bfloat16", **changes)
    model, *_ = tiny_model(config, TREE, ROWS)
    half, _ = jax.jit(model.apply)(params, stats, batch)
    (_, full), _ = lesson(params, batch)
    for a, b in zip(jax.tree.leaves(half), jax.tree.leaves(full), strict=True):
        assert a.dtype == b.dtype == jnp.float32
        assert np.abs(a - b).max() < 0.03 * np.abs(b).max()
    assert not bitwise_equal(half.logits, full.logits)


def test_an_unknown_modality_is_refused():
    config = tiny_config(("title", "sound"))
    with pytest.raises(ValueError, match="sound"):
        tiny_model(config, TREE)


OWN = {"width": 8, "depth": 1, "heads": 2, "mlp": 8, "dropout": 0.0, "pool": "cls"}
OWN |= {"bag": 0, "bag_dropout": 0.0, "published": ""}


@pytest.mark.parametrize(
    ("stream", "own", "words"),
    [
        ("width", None, "the name 'width' is taken"),
        ("image", None, "the name 'image' is taken"),
        ("head", {**OWN, "pre_norm": True}, "the name 'head' is taken"),
        ("brand", OWN, "model.text.brand lacks pre_norm"),
        ("brand", {**OWN, "pre_norm": True}, None),
        ("head", None, None),
    ],
)
def test_names_of_text_streams_are_free(stream, own, words):
    config = tiny_config()
    config.data.text.streams[stream] = ("title",)
    if own:
        with config.model.text.unlocked():
            config.model.text[stream] = own
    if words is None:
        check_choices(config)
    else:
        with pytest.raises(ConfigError, match=words):
            check_choices(config)
