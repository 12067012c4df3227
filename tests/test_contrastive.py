"""The contrastive family: each loss against plain numpy, and the laws they share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.test_util import check_grads
from tiny import largest_difference, ragged_tree
from tiny import random_labels as drawn_labels

from hsjax.losses import CONTRASTS, Pairs, kin_of, tree_similarity, weighted_mean
from hsjax.losses.contrastive import LABEL_AWARE
from hsjax.sharding import BATCH, make_mesh
from hsjax.taxonomy import Taxonomy

TREE = Taxonomy.from_paths(
    [("A", "A > B", "A > B > C"), ("A", "A > B", "A > B > D"), ("A", "A > E")]
    + [("F", "F > G", "F > G > H"), ("A",)],
    separator=" > ",
)
ROWS, WIDTH, SCALE, BIAS = 8, 5, 3.0, -1.5
# rows 0, 1 and 4 are one product, row 4 with another label; 3 and 6 weigh nothing
GROUP = jnp.array([5, 5, 2, 3, 5, 1, 0, 4], jnp.int32)
WEIGHT = jnp.array([1.0, 0.5, 2.0, 0.0, 1.0, 1.0, 0.0, 1.0], jnp.float32)
PATHS = [("A", "A > B", "A > B > C")] * 4 + [("A", "A > B", "A > B > D")]
PATHS += [("F", "F > G", "F > G > H"), ("A", "A > E"), ("A", "A > B")]
LABELS = jnp.asarray(np.stack([TREE.encode(p, complete=False)[0] for p in PATHS]))
GROUPS, WEIGHTS = np.asarray(GROUP), np.asarray(WEIGHT)
KEPT = np.flatnonzero(WEIGHTS)
KINDS = tuple(CONTRASTS)
DIRECTIONS = ("t2i", "i2t", "both")
MASKS = {"all": {}, "branch": {"branch": True}, "hardest": {"hardest": 2}}


def unit(seed, rows=ROWS):
    x = np.random.default_rng(seed).normal(size=(rows, WIDTH))
    return jnp.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), jnp.float32)


TEXT, IMAGE = unit(1), unit(2)


@functools.partial(
    jax.jit, static_argnames=("kind", "direction", "branch", "hardest", "softness")
)
def contrast(
    text,
    image,
    scale=SCALE,
    bias=BIAS,
    group=GROUP,
    labels=LABELS,
    weight=WEIGHT,
    *,
    kind,
    direction="both",
    branch=False,
    hardest=0,
    softness=0.5,
):
    pairs = Pairs(
        group=group,
        weight=weight,
        direction=direction,
        hardest=hardest,
        kin=kin_of(labels, TREE),
        branch=branch,
        softness=softness,
        bias=jnp.asarray(bias, jnp.float32),
    )
    return CONTRASTS[kind](text, image, jnp.asarray(scale, jnp.float32), pairs)


@functools.cache
def near_of(i, j):
    """Wu and Palmer by definition; what is not known below a node is a node."""
    paths = [[int(x) for x in np.asarray(LABELS[k]) if x >= 0] for k in (i, j)]
    shared = 0
    for a, b in zip(*paths, strict=False):
        if a != b:
            break
        shared += 1
    sizes = [len(p) for p in paths]
    for k, path in enumerate(paths):
        if not path or not TREE.leaf[len(path) - 1][path[-1]]:
            sizes[k] += 1
    return 2 * shared / sum(sizes)


def loop_row(s, i, kind, negative, near, softness, bias):
    """Value of row i of the similarities s, in float64."""
    every = range(len(s))
    valid = [j for j in every if j == i or WEIGHTS[j] > 0]
    soft = {j: softness * near[i, j] for j in every}
    if kind == "sigmoid":
        pushed = sum(np.log(1 + np.exp(s[i, j] + bias)) for j in negative)
        return np.log(1 + np.exp(-s[i, i] - bias)) + pushed
    targets = {i: 1.0}
    if kind == "supervised":
        targets |= {j: 1.0 for j in valid if near[i, j] == 1}
        negative = [j for j in negative if j not in targets]
    elif kind == "tree_positives":
        others = [j for j in valid if GROUPS[j] != GROUPS[i]]
        targets |= {j: soft[j] for j in others if soft[j] > 0}
    push = {j: 1 - soft[j] if kind == "tree_negatives" else 1.0 for j in negative}
    push |= dict.fromkeys(targets, 1.0)
    partition = np.log(sum(w * np.exp(s[i, j]) for j, w in push.items()))
    total = sum(targets.values())
    return sum(t / total * (partition - s[i, j]) for j, t in targets.items())


def loop(
    text,
    image,
    kind,
    direction="both",
    branch=False,
    hardest=0,
    softness=0.5,
    scale=SCALE,
    bias=BIAS,
):
    """(value, weight) by definition, in float64."""
    text, image = np.asarray(text, np.float64), np.asarray(image, np.float64)
    every = range(len(text))
    near = np.array([[near_of(i, j) for j in every] for i in every])
    ways = {"t2i": [text @ image.T], "i2t": [image @ text.T]}
    ways["both"] = ways["t2i"] + ways["i2t"]
    values, weights = np.zeros(len(text)), np.zeros(len(text))
    for i in every:
        negative = [j for j in every if GROUPS[j] != GROUPS[i] and WEIGHTS[j] > 0]
        if branch:
            negative = [j for j in negative if near[i, j] > 0]
        if kind == "supervised":
            negative = [j for j in negative if near[i, j] < 1]
        elif kind == "tree_negatives":
            negative = [j for j in negative if softness * near[i, j] < 1]
        weights[i] = WEIGHTS[i] if negative else 0.0
        for s in ways[direction]:
            s = scale * s
            free = negative
            if kind == "tree_positives":  # what has a target is in the sum anyway
                free = [j for j in negative if not softness * near[i, j]]
            most = sorted(free, key=lambda j, s=s, i=i: -s[i, j])
            chosen = most[:hardest] if hardest else negative
            row = loop_row(s, i, kind, chosen, near, softness, bias)
            values[i] += row / len(ways[direction])
    return values, weights


def mean(value, weight):
    return (value * weight).sum() / weight.sum()


def test_the_similarity_of_labels_is_that_of_wu_and_palmer():
    found = np.asarray(jax.jit(lambda x: tree_similarity(x, TREE))(LABELS))
    every = range(ROWS)
    expected = [[near_of(i, j) for j in every] for i in every]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found[0, 1] == 1, "one leaf"
    assert found[0, 4] == pytest.approx(2 / 3), "two of three nodes"
    assert found[0, 5] == 0, "no common node"
    assert found[7, 7] < 1, "the leaf of row 7 is not known"
    for seed in range(3):
        tree = ragged_tree(seed)
        labels = jnp.asarray(drawn_labels(tree, 9, seed))
        near = np.asarray(tree_similarity(labels, tree))
        assert near.min() >= 0
        assert near.max() <= 1
        ended = [
            any(i >= 0 and tree.leaf[k][i] for k, i in enumerate(row))
            for row in np.asarray(labels)
        ]
        same = (labels[:, None] == labels[None]).all(axis=2)
        np.testing.assert_array_equal(near == 1, same & np.array(ended)[:, None])


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_loss_equals_plain_numpy(kind, masks):
    for direction in DIRECTIONS if masks == "all" else ("both",):
        options = {"kind": kind, "direction": direction, **MASKS[masks]}
        value, weight = contrast(TEXT, IMAGE, **options)
        expected = loop(TEXT, IMAGE, **options)
        assert value.dtype == weight.dtype == jnp.float32
        np.testing.assert_array_equal(weight, expected[1])
        here = expected[1] > 0
        np.testing.assert_allclose(value[here], expected[0][here], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_plain_numpy(kind):
    def loss(text, image, scale, bias):
        return weighted_mean(*contrast(text, image, scale, bias, kind=kind))

    args = (TEXT, IMAGE, jnp.float32(SCALE), jnp.float32(BIAS))
    found = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3)))(*args)
    arrays = [np.asarray(x, np.float64) for x in args]
    for which, gradient in enumerate(found):
        x = arrays[which]
        for place in list(np.ndindex(x.shape))[::3]:
            sides = []
            for step in (1e-5, -1e-5):
                moved = [a.copy() for a in arrays]
                moved[which][place] += step
                text, image, scale, bias = moved
                sides.append(
                    mean(*loop(text, image, kind, scale=scale, bias=float(bias)))
                )
            slope = (sides[0] - sides[1]) / 2e-5
            assert float(gradient[place]) == pytest.approx(slope, rel=1e-4, abs=1e-5)
    check_grads(jax.jit(loss), args, order=1, modes=("rev",))


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_the_rows_does_not_matter(kind):
    order = np.random.default_rng(0).permutation(ROWS)
    value, weight = contrast(TEXT, IMAGE, kind=kind)
    moved = (x[order] for x in (TEXT, IMAGE))
    rest = (x[order] for x in (GROUP, LABELS, WEIGHT))
    value_, weight_ = contrast(*moved, SCALE, BIAS, *rest, kind=kind)
    np.testing.assert_allclose(value_, value[order], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(weight_, weight[order])


@pytest.mark.parametrize("softness", [0.0, 0.5])
@pytest.mark.parametrize("kind", KINDS)
def test_duplicates_are_never_negatives(kind, softness):
    def values(text, image):
        return contrast(text, image, kind=kind, softness=softness)[0]

    jacobian = jax.jit(jax.jacrev(values, argnums=(0, 1)))(TEXT, IMAGE)
    twin = {"supervised": 1.0}.get(kind, 0.0)  # rows 0 and 1 have one label
    for part in jacobian:
        reached = np.abs(np.asarray(part)).max(axis=2) > 0  # value i, row j
        # rows 0 and 4 are one product with two labels
        assert not reached[[0, 4, 1, 4], [4, 0, 4, 1]].any()
        assert reached[0, 1] == reached[1, 0] == bool(twin)
        assert reached.diagonal().all()
    if twin:  # then it is pulled nearer
        pull = -np.asarray(jacobian[1])[0, 1] @ np.asarray(TEXT[0])
        assert pull > 0


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_weight_0_are_as_good_as_dropped(kind):
    def loss(text, image, *rest):
        return weighted_mean(*contrast(text, image, SCALE, BIAS, *rest, kind=kind))

    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    rows = (TEXT, IMAGE, GROUP, LABELS, WEIGHT)
    value, grads = gradient(*rows)
    value_, grads_ = gradient(*(x[KEPT] for x in rows))
    assert float(value) == pytest.approx(float(value_), abs=1e-5)
    gone = np.flatnonzero(WEIGHTS == 0)
    for a, b in zip(grads, grads_, strict=True):
        np.testing.assert_allclose(a[KEPT], b, rtol=1e-5, atol=1e-5)
        assert not a[gone].any()
    junk = TEXT.at[3].set(jnp.inf), IMAGE.at[6].set(jnp.nan)
    again = weighted_mean(*contrast(*junk, kind=kind))
    assert float(again) == pytest.approx(float(value), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_finite_at_the_highest_scale_in_bfloat16(kind):
    half = [x.astype(jnp.bfloat16) for x in (TEXT, IMAGE)]

    def loss(text, image):
        return weighted_mean(*contrast(text, image, 100.0, -10.0, kind=kind))

    value, grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(*half)
    assert value.dtype == jnp.float32
    assert np.isfinite(float(value))
    assert all(np.isfinite(np.asarray(g, np.float32)).all() for g in grads)


@pytest.mark.parametrize("kind", KINDS)
def test_an_anchor_without_negatives_has_weight_0(kind):
    one = jnp.zeros_like(GROUP)
    value, weight = contrast(TEXT, IMAGE, group=one, kind=kind)
    assert not weight.any()
    assert np.isfinite(np.asarray(value)).all()
    if kind == "supervised":  # nor is a product of the same leaf one
        same = jnp.tile(LABELS[:1], (ROWS, 1))
        _, weight = contrast(TEXT, IMAGE, labels=same, kind=kind)
        assert not weight.any()


@pytest.mark.parametrize("kind", ["tree_positives", "tree_negatives"])
def test_softness_0_is_info_nce_and_more_is_softer(kind):
    plain = contrast(TEXT, IMAGE, kind="info_nce")
    found = contrast(TEXT, IMAGE, kind=kind, softness=0.0)
    assert largest_difference(found, plain) < 1e-6
    near = np.asarray(tree_similarity(LABELS, TREE))

    def pushes(softness):
        """How hard the similarity of each pair is pushed down, (B, B)."""

        def value(text):
            options = {"kind": kind, "softness": softness, "direction": "t2i"}
            return contrast(text, jnp.eye(ROWS), 1.0, **options)[0]

        return np.einsum("iij->ij", jax.jit(jax.jacrev(value))(jnp.eye(ROWS)))

    gap = pushes(0.9) - pushes(0.1)
    other = (GROUPS[:, None] != GROUPS[None]) & (WEIGHTS > 0)[None]
    nearer = other & (near > 0.5)
    assert nearer.any()
    assert (gap[nearer] < 0).all(), "near ones are pushed less"


def test_supervised_products_of_one_leaf_are_positives():
    """Without labels in common it is InfoNCE."""
    alone = jnp.full_like(LABELS, -1)
    found = contrast(TEXT, IMAGE, labels=alone, kind="supervised")
    assert largest_difference(found, contrast(TEXT, IMAGE, kind="info_nce")) < 1e-6
    assert set(LABEL_AWARE) == {"supervised", "tree_positives", "tree_negatives"}


def test_sigmoid_judges_each_pair_alone():
    """Its value is the sum of the values over any parts of the negatives."""
    group = jnp.arange(ROWS, dtype=jnp.int32)

    def value(weight):
        row = contrast(
            TEXT, IMAGE, group=group, weight=weight, kind="sigmoid", direction="t2i"
        )
        return float(row[0][0])

    first, second = (
        jnp.asarray(np.isin(np.arange(ROWS), kept), jnp.float32)
        for kept in ((0, 1, 2, 3), (0, 4, 5, 6, 7))
    )
    own = value(jnp.zeros(ROWS).at[0].set(1.0))
    assert value(first) + value(second) - own == pytest.approx(value(jnp.ones(ROWS)))


@pytest.mark.parametrize("kind", KINDS)
def test_eight_devices_give_the_loss_and_gradient_of_one(kind):
    rows = 16
    args = (unit(5, rows), unit(6, rows), jnp.arange(rows, dtype=jnp.int32) // 2)
    args += (jnp.tile(LABELS, (2, 1)), jnp.tile(WEIGHT, 2))

    def loss(text, image, *rest):
        return weighted_mean(*contrast(text, image, SCALE, BIAS, *rest, kind=kind))

    both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    sharding = NamedSharding(make_mesh(8), BATCH)
    placed = tuple(jax.device_put(x, sharding) for x in args)
    assert largest_difference(both(*placed), both(*args)) < 1e-5
