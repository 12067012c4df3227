"""SimGCD on frozen features: its loss by hand, and new classes that come out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hsjax.evaluation.clusters import cluster_scores, discovery_accuracy
from hsjax.features.parametric import (
    Options,
    cosines,
    discover,
    simgcd_loss,
    target_temperature,
    two_views,
    unit,
)

QUICK = Options(steps=300)
KNOWN, CLASSES = 5, 10


@pytest.fixture(scope="module")
def planted():
    """(N, D) clusters beside a large common vector, classes, and labels of half the
    rows of half the classes."""
    rng = np.random.default_rng(0)
    classes = np.arange(1200) % CLASSES
    centres = rng.normal(size=(CLASSES, 32))
    x = centres[classes] + 1.5 * rng.normal(size=(1200, 32)) + 5
    shown = np.where((classes < KNOWN) & (rng.random(1200) < 0.5), classes, -1)
    return x.astype(np.float32), classes, shown


def scores_of(found, planted):
    _, classes, shown = planted
    rest = shown < 0
    return discovery_accuracy(classes[rest], found.assignment[rest], range(KNOWN))


def test_new_classes_are_found(planted):
    x, classes, shown = planted
    found = discover(x, shown, CLASSES, batch=128, options=QUICK)
    scores = scores_of(found, planted)
    assert scores["accuracy_new"] > 0.9
    assert scores["accuracy_old"] > 0.9
    shuffled = np.random.default_rng(0).permutation(found.assignment)
    chance = scores_of(found._replace(assignment=shuffled), planted)
    assert chance["accuracy_new"] < 0.25
    assert cluster_scores(classes, found.assignment)["ari"] > 0.8
    # a known class is its own prototype, without any pairing
    old = classes < KNOWN
    assert (found.assignment == classes)[old].mean() > 0.9
    assert found.losses.shape == (300,)
    assert found.losses[-20:].mean() < found.losses[:20].mean()
    assert found.confidence.min() > 1 / CLASSES


def test_a_seed_is_one_answer(planted):
    x, _, shown = planted
    few = Options(steps=30)
    one, same = (discover(x, shown, 10, batch=64, options=few) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    other = discover(x, shown, 10, batch=64, options=few, seed=1)
    assert not np.array_equal(one.prototypes, other.prototypes)
    # scale and place of the features do not matter
    moved = discover(x * 1e-4 + 3e-4, shown, 10, batch=64, options=few)
    assert (moved.assignment == one.assignment).mean() > 0.98


def test_prototypes_answer_for_any_row(planted):
    x, _, shown = planted
    found = discover(x, shown, CLASSES, batch=64, options=Options(steps=30))
    np.testing.assert_allclose(np.linalg.norm(found.prototypes, axis=1), 1, atol=1e-5)
    apart = x - found.mean
    cosine = apart @ found.prototypes.T / np.linalg.norm(apart, axis=1, keepdims=True)
    assert (cosine.argmax(axis=1) == found.assignment).all()
    odds = np.exp(cosine / 0.1)
    stated = (odds / odds.sum(axis=1, keepdims=True)).max(axis=1)
    np.testing.assert_allclose(found.confidence, stated, atol=1e-4)


def test_without_the_entropy_term_new_classes_are_lost(planted):
    """What the regulariser is for: known prototypes take in rows of new classes."""
    x, classes, shown = planted
    found = discover(x, shown, CLASSES, batch=128, options=QUICK._replace(entropy=0.0))
    scores = scores_of(found, planted)
    assert scores["accuracy_old"] > 0.9
    assert scores["accuracy_new"] < 0.7
    assert (found.assignment[classes >= KNOWN] < KNOWN).mean() > 0.1


def test_the_loss_is_the_equation():
    rng = np.random.default_rng(0)
    cosine = rng.uniform(-1, 1, size=(2, 5, 4)).astype(np.float32)
    labels, sharp, tau = np.array([2, -1, 0, -1, -1]), 0.05, 0.1

    def softmax(x):
        odds = np.exp(x)
        return odds / odds.sum()

    views, pulled, known = np.float64(cosine), [], []
    answers = [[softmax(row / tau) for row in view] for view in views]
    for view in (0, 1):
        for i in range(5):
            target = softmax(views[1 - view, i] / sharp)
            pulled.append(-(target * np.log(answers[view][i])).sum())
            if labels[i] >= 0:
                known.append(-np.log(answers[view][i][labels[i]]))
    mean = np.mean(answers, axis=(0, 1))
    entropy = -(mean * np.log(mean)).sum()
    expected = 0.65 * (np.mean(pulled) - 2.0 * entropy) + 0.35 * np.mean(known)
    options, heat = Options(entropy=2.0), jnp.float32(sharp)
    loss = simgcd_loss(jnp.asarray(cosine), jnp.asarray(labels), heat, options)
    assert loss == pytest.approx(expected, abs=1e-5)
    # rows without a label, and no row with one
    nobody = jnp.full(5, -1)
    alone = simgcd_loss(jnp.asarray(cosine), nobody, heat, options)
    assert alone == pytest.approx(0.65 * (np.mean(pulled) - 2.0 * entropy), abs=1e-5)


def test_no_gradient_flows_through_the_sharp_view():
    """Of distillation alone it is (s - s') / tau_s, a sixth of it for 2 views of 3."""
    cosine = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (2, 3, 4)), "float32")
    options = Options(supervised=0.0, entropy=0.0)

    def loss(cosine):
        return simgcd_loss(cosine, jnp.full(3, -1), jnp.float32(0.05), options)

    teacher = jax.nn.softmax(cosine / 0.05)[::-1]
    expected = (jax.nn.softmax(cosine / 0.1) - teacher) / 0.1 / 6
    np.testing.assert_allclose(jax.grad(loss)(cosine), expected, atol=1e-5)


def test_temperature_falls_and_stays():
    options = Options(steps=100, warmup=0.5)
    heat = [float(target_temperature(jnp.int32(i), options)) for i in (0, 25, 50, 99)]
    assert heat == pytest.approx([0.07, 0.055, 0.04, 0.04])


def test_views_are_dropped_and_noisy():
    x = unit(jnp.ones((50, 400)))
    key = jax.random.key(0)
    dropped = two_views(key, x, Options(dropout=0.3, noise=0.0))
    assert (dropped == 0).mean() == pytest.approx(0.3, abs=0.02)
    assert not (dropped[0] == dropped[1]).all()
    noisy = two_views(key, x, Options(dropout=0.0, noise=0.5))
    lengths = jnp.linalg.norm(noisy - x[None], axis=-1)
    assert lengths.mean() == pytest.approx(0.5, abs=0.02)
    same = two_views(key, x, Options(dropout=0.0, noise=0.0))
    assert (same == x[None]).all()


def test_a_row_of_zeros_has_no_direction_and_a_finite_gradient():
    z = jnp.zeros((1, 3))
    gradient = jax.grad(lambda p: cosines(p, z).sum())(jnp.ones((2, 3)))
    assert jnp.isfinite(gradient).all()
    assert jnp.isfinite(jax.grad(lambda p: unit(p).sum())(z)).all()


def test_what_cannot_be_discovered_is_refused(planted):
    x, classes, shown = planted
    with pytest.raises(ValueError, match="0 rows with a class"):
        discover(x, np.full(1200, -1), 10)
    with pytest.raises(ValueError, match="0 without"):
        discover(x, classes, 10)
    with pytest.raises(ValueError, match="3 clusters: 5 classes"):
        discover(x, shown, 3)
    with pytest.raises(ValueError, match="class 0 of 0..4 has no row"):
        discover(x, np.where(shown == 0, 1, shown), 10)
    x = x.copy()
    x[3, 3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        discover(x, shown, 10, batch=8, options=Options(steps=2))
