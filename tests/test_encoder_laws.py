"""Laws of every encoder, at prime sizes: padding and neighbours do not matter."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import VOCAB, bitwise_equal, drawn

from hsjax.models.layers import BatchNorm, pool_tokens
from hsjax.models.resnet import ResNet
from hsjax.models.text import TextEncoder
from hsjax.models.vit import VisionTransformer

ROWS, LENGTH, LONGER = 5, 7, 11
FLOAT = jnp.dtype(jnp.float32)


def resnet(norm, stem="small", block="basic", dropout=0.0):
    return ResNet(stem, block, (1, 1), (8, 11), norm, dropout, FLOAT)


def vit(pool):
    return VisionTransformer(5, 14, 1, 2, 13, 0.5, pool, FLOAT)


def text(pool, pre_norm, bag=0):
    shape = (VOCAB, LONGER, 14, 1, 2, 13)
    return TextEncoder(*shape, 0.5, pool, pre_norm, FLOAT, bag=bag, bag_dropout=0.5)


RESNETS = {
    "resnet-group": resnet("group"),
    "resnet-batch": resnet("batch"),
    "resnet-bottleneck": resnet("group", "large", "bottleneck", dropout=0.5),
}
VITS = {f"vit-{pool}": vit(pool) for pool in ("cls", "mean", "max", "map")}
TEXTS = {
    f"text-{pool}-{'pre' if pre else 'post'}": text(pool, pre)
    for pool in ("cls", "mean", "max", "eot", "map")
    for pre in (True, False)
}
TEXTS["text-bag"] = text("mean", True, bag=5)
ENCODERS = RESNETS | VITS | TEXTS
every_encoder = pytest.mark.parametrize("name", ENCODERS)
every_text = pytest.mark.parametrize("name", TEXTS)
every_image = pytest.mark.parametrize("name", RESNETS | VITS)


def rows_of(name, seed, length=LENGTH):
    """What the encoder is given, besides `training`."""
    rng = np.random.default_rng(seed)
    if name in TEXTS:
        mask = np.arange(length)[None] < rng.integers(3, LENGTH + 1, (ROWS, 1))
        return jnp.asarray(rng.integers(5, VOCAB, (ROWS, length))), jnp.asarray(mask)
    size = (13, 11) if name in RESNETS else (15, 35)
    return jnp.asarray(rng.normal(size=(ROWS, *size, 3)), jnp.float32), jnp.ones(ROWS)


@functools.cache
def encoder(name):
    """(what it says without a key, and with one), jitted, with its variables inside."""
    module = ENCODERS[name]
    init = functools.partial(module.init, training=False)
    variables = drawn(jax.eval_shape(init, jax.random.key(0), *rows_of(name, 0)))

    def evaluate(rows):
        return module.apply(variables, *rows, training=False)

    def train(rows, key):
        rngs = {"dropout": key}
        return module.apply(variables, *rows, training=True, rngs=rngs, mutable="stats")

    return jax.jit(evaluate), jax.jit(train)


def with_others(rows, others, kept):
    return tuple(
        jnp.concatenate([a[:kept], b[kept:]]) for a, b in zip(rows, others, strict=True)
    )


@every_encoder
def test_without_a_key_a_row_does_not_depend_on_its_batch(name):
    evaluate, _ = encoder(name)
    rows, others = rows_of(name, 1), rows_of(name, 2)
    whole = evaluate(rows)
    mixed = evaluate(with_others(rows, others, 2))
    assert np.isfinite(whole).all()
    assert bitwise_equal(whole[:2], mixed[:2])
    assert (np.abs(whole[2:] - mixed[2:]).max(axis=1) > 1e-3).all()
    assert bitwise_equal(whole, evaluate(rows)), "deterministic"


@pytest.mark.parametrize("name", RESNETS | VITS | {k: 0 for k in list(TEXTS)[:1]})
def test_with_a_key_the_answer_follows_the_key(name):
    evaluate, train = encoder(name)
    rows, keys = rows_of(name, 1), jax.random.split(jax.random.key(0))
    (first, _), (other, _) = (train(rows, key) for key in keys)
    if getattr(ENCODERS[name], "dropout", 0):
        assert not bitwise_equal(first, other)
        assert not bitwise_equal(first, evaluate(rows))
    else:
        assert bitwise_equal(first, other)
    assert bitwise_equal(first, train(rows, keys[0])[0])


def test_in_training_group_norm_knows_no_batch_and_batch_norm_does():
    key = jax.random.key(0)
    for name, alone in (("resnet-group", True), ("resnet-batch", False)):
        rows, others = rows_of(name, 1), rows_of(name, 2)
        whole, stats = encoder(name)[1](rows, key)
        mixed, _ = encoder(name)[1](with_others(rows, others, 2), key)
        assert bitwise_equal(whole[:2], mixed[:2]) == alone
        assert bool(stats.get("stats")) != alone


@every_text
def test_padding_does_not_matter(name):
    evaluate, _ = encoder(name)
    ids, mask = rows_of(name, 1)
    other_ids = jnp.where(mask, ids, rows_of(name, 2)[0])
    assert (other_ids != ids).any()
    whole = evaluate((ids, mask))
    assert bitwise_equal(whole, evaluate((other_ids, mask)))
    room = ((0, 0), (0, LONGER - LENGTH))
    longer = evaluate((jnp.pad(ids, room, constant_values=9), jnp.pad(mask, room)))
    np.testing.assert_allclose(longer, whole, rtol=1e-5, atol=1e-5)


@every_text
def test_every_token_that_counts_matters_and_so_does_its_place(name):
    evaluate, _ = encoder(name)
    ids, _ = rows_of(name, 1)
    mask = jnp.ones((ROWS, LENGTH), bool)
    whole = evaluate((ids, mask))
    for place in range(1, LENGTH):
        other = evaluate((ids.at[:, place].set(ids[:, place] % 18 + 5), mask))
        assert (np.abs(other - whole).max(axis=1) > 1e-5).all()
    assert (np.abs(evaluate((ids[:, ::-1], mask)) - whole).max(axis=1) > 1e-3).all()


@every_text
def test_a_text_without_tokens_is_finite(name):
    ids, mask = rows_of(name, 1)
    assert np.isfinite(encoder(name)[0]((ids, jnp.zeros_like(mask)))).all()


@every_image
def test_every_corner_of_a_picture_matters(name):
    evaluate, _ = encoder(name)
    image, weight = rows_of(name, 1)
    whole = evaluate((image, weight))
    for y in (0, -1):
        for x in (0, -1):
            other = evaluate((image.at[:, y, x].add(3.0), weight))
            assert (np.abs(other - whole).max(axis=1) > 1e-5).all()


def test_batch_statistics_ignore_rows_of_weight_0():
    _, train = encoder("resnet-batch")
    (image, _), (junk, _) = rows_of("resnet-batch", 1), rows_of("resnet-batch", 2)
    weight, key = jnp.array([1.0, 0, 1, 0.5, 0]), jax.random.key(0)
    other = jnp.where(weight[:, None, None, None] > 0, image, 50 * junk)
    said, stats = train((image, weight), key)
    said2, stats2 = train((other, weight), key)
    kept = np.flatnonzero(weight)
    assert bitwise_equal(stats, stats2)
    assert bitwise_equal(said[kept], said2[kept])
    _, stats3 = train((other, jnp.ones(ROWS)), key)
    assert not bitwise_equal(stats, stats3)


def test_batch_norm_is_its_definition():
    rng = np.random.default_rng(0)
    x = rng.normal(2, 3, (5, 3, 2, 4))
    weight = np.array([1, 0, 2, 1, 0.5])
    shares = np.broadcast_to(weight[:, None, None], (5, 3, 2)) / (6 * weight.sum())
    mean = np.einsum("bhw,bhwd->d", shares, x)
    var = np.einsum("bhw,bhwd->d", shares, (x - mean) ** 2)
    module, data = BatchNorm(), jnp.asarray(x, jnp.float32)
    variables = module.init(jax.random.key(0), data, jnp.ones(5), training=True)
    assert not variables["stats"]["mean"].any()
    assert (variables["stats"]["var"] == 1).all()
    y, after = module.apply(
        variables,
        data,
        jnp.asarray(weight, jnp.float32),
        training=True,
        mutable="stats",
    )
    np.testing.assert_allclose(
        y, (x - mean) / np.sqrt(var + 1e-5), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(after["stats"]["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(after["stats"]["var"], 0.9 + 0.1 * var, rtol=1e-5)
    _, same = module.apply(
        variables, data, jnp.zeros(5), training=True, mutable="stats"
    )
    assert bitwise_equal(same["stats"], variables["stats"])


def test_pooling_is_its_definition():
    x = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
    mask = np.arange(5)[None] < np.array([[5], [2], [0]])
    mean, largest, first = (
        pool_tokens(jnp.asarray(x), jnp.asarray(mask), kind)
        for kind in ("mean", "max", "cls")
    )
    np.testing.assert_array_equal(first, x[:, 0])
    for row, count in enumerate((5, 2)):
        np.testing.assert_allclose(mean[row], x[row, :count].mean(axis=0), rtol=1e-5)
        np.testing.assert_array_equal(largest[row], x[row, :count].max(axis=0))
    assert not mean[2].any()
    assert not largest[2].any()
    with pytest.raises(ValueError, match="known: cls, mean, max"):
        pool_tokens(jnp.asarray(x), jnp.asarray(mask), "sum")
