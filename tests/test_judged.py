"""What calibrations are fitted on, in a ragged tree with STOP children."""

from dataclasses import replace
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from brute import Brute
from test_hierarchy import by_id
from tiny import ragged_tree, random_labels, random_logits

from hsjax.evaluation.answer import make_answer
from hsjax.evaluation.collect import Rows, collect_predictions
from hsjax.evaluation.judged import (
    certainty_of,
    drawn,
    judged_nodes,
    label_loss,
    leaf_rows,
    level_maps,
    sets_cover,
    true_leaf_probs,
)
from hsjax.evaluation.measures import answers
from hsjax.evaluation.tree_calibration import TreeCalibration

ROWS = 60
TREE = ragged_tree(3)


@pytest.fixture(scope="module")
def seen():
    """(Predictions with the facts of the truth, the same by brute force)."""
    logits = random_logits(TREE, ROWS, seed=1)
    labels = random_labels(TREE, ROWS, seed=2)
    paths = [TREE.decode(x) for x in labels]
    truth = np.full((ROWS, TREE.num_levels), "", object)
    for row, path in enumerate(paths):
        truth[row, : len(path)] = path
    ends = [tuple(b for b in x if b >= 0) for x in labels.tolist()]
    complete = np.array([bool(x) and bool(TREE.leaf[len(x) - 1][x[-1]]) for x in ends])
    outside = np.zeros(ROWS, bool)
    outside[5] = True  # its leaf is not in the tree: known down to level 1
    truth[5, 1:] = ""
    truth[5, 1], labels[5, 1:], complete[5] = "elsewhere", -1, True
    outputs = SimpleNamespace(logits=logits, text=None, image=None)
    answer = make_answer(lambda p, s, b: (outputs, s), TREE, truth=True)
    batch = {"weight": jnp.ones(ROWS), "labels": jnp.asarray(labels)}
    index = np.arange(ROWS)
    names = index.astype(str).astype(object)
    p, _ = collect_predictions(
        lambda batch: answer(None, None, batch),
        [batch],
        rows=Rows(index, names, index, truth, complete, outside),
        tree=TREE,
    )
    levels = by_id(TREE, logits)
    return p, [Brute(TREE, [x[row] for x in levels]) for row in range(ROWS)], labels


def test_the_best_node_of_each_level_is_judged_by_its_code(seen):
    p, brutes, _ = seen
    judged, right = judged_nodes(p, TREE)
    stops = 0
    for row, brute in enumerate(brutes):
        for level, log_probs in enumerate(brute.log_prob):
            best = int(np.argmax(log_probs))
            stops += bool(TREE.stop[level][best])
            path = TREE.decode(brute.path(level, best))
            known = [x for x in p.truth[row] if x]
            deep = len(path) <= len(known)
            assert judged[row, level] == (p.complete[row] or deep)
            assert right[row, level] == (deep and known[len(path) - 1] == path[-1])
            assert p.asked["best_prob"][row, level] == pytest.approx(
                np.exp(log_probs[best]), rel=1e-4
            )
    assert stops, "some stop"


def test_true_leaves_and_their_sets(seen):
    p, brutes, labels = seen
    rows = leaf_rows(p, TREE)
    expected, covered = [], []
    for row, brute in enumerate(brutes):
        end = [(k, i) for k, i in enumerate(labels[row].tolist()) if i >= 0]
        whole = bool(end) and bool(TREE.leaf[end[-1][0]][end[-1][1]])
        assert rows[row] == (whole or p.outside[row])
        if rows[row]:
            prob = np.exp(brute.log_prob[end[-1][0]][end[-1][1]])
            expected.append(0.0 if p.outside[row] else prob)
            best = brute.best_leaf(brute.log_prob) == labels[row].tolist()
            covered.append(not p.outside[row] and (prob >= 0.2 or best))
    np.testing.assert_allclose(true_leaf_probs(p, TREE), expected, rtol=1e-4)
    assert sets_cover(p, TREE, 0.2).tolist() == covered
    assert len(set(covered)) == 2


def test_the_loss_is_that_of_the_labels_among_their_siblings(seen):
    p, brutes, labels = seen
    for level in range(TREE.num_levels):
        found = []
        for row, i in enumerate(labels[:, level]):
            if i >= 0:
                above = labels[row, level - 1]
                parent = brutes[row].log_prob[level - 1][above] if level else 0.0
                found.append(parent - brutes[row].log_prob[level][i])
        assert label_loss(p, level) == pytest.approx(np.mean(found), rel=1e-4)


def test_alike_listings_are_one_trial(seen):
    """Ten rows of each group say no more than one of them."""
    p, _, _ = seen
    many = p.select(np.repeat(np.arange(ROWS), 10))
    many = replace(many, id=np.arange(len(many)).astype(str).astype(object))
    for one, other in zip(certainty_of(p, TREE), certainty_of(many, TREE), strict=True):
        np.testing.assert_array_equal(one, other)
    assert drawn(many).group.tolist() == p.group.tolist()


def listed(p, times):
    """So many products like each, in groups of their own."""
    many = p.select(np.repeat(np.arange(len(p)), times))
    return replace(many, group=np.arange(len(many)))


def test_a_map_wants_100_groups_and_answers_both_right_and_wrong(seen):
    p, _, _ = seen
    kinds = lambda p: [of["kind"] for of in level_maps(p)]  # noqa: E731
    first = np.flatnonzero((answers(p)[:, 0] != "") & (p.truth[:, 0] != ""))
    right = answers(p)[first, 0] == p.truth[first, 0]
    mixed = p.select(first[[*np.flatnonzero(right)[:1], *np.flatnonzero(~right)[:1]]])
    assert kinds(listed(mixed, 50))[0] == "isotonic"
    assert kinds(listed(mixed, 50).select(np.arange(99)))[0] == "none"
    alike = replace(listed(mixed, 500), group=np.arange(1000) // 20)
    assert kinds(alike)[0] == "none", "50 groups"
    for which in (right, ~right):
        assert kinds(listed(p.select(first[which][:1]), 300))[0] == "none"


def test_a_whole_calibration_of_these(seen):
    """Maps of levels where paths have ended leave the blanks as they are."""
    p = listed(seen[0], 20)
    known = TreeCalibration(
        kind="isotonic",
        temperature=(1.0,) * TREE.num_levels,
        maps=level_maps(p),
        certainty=certainty_of(p, TREE),
        sets={},
        step=1,
        config="",
        parameters="",
        fitted="",
        rows=len(p),
    )
    assert {of["kind"] for of in known.maps} == {"isotonic"}
    mapped = known.mapped(p)
    assert ((mapped.prob > 0) <= (p.prob > 0)).all()
    given = answers(p) != ""
    pairs = given[:, 1:] & given[:, :-1]
    assert (np.diff(mapped.prob, axis=1)[pairs] <= 0).all()
    counts = known.certainty
    assert (counts.right <= counts.judged).all()
    assert (counts.judged <= counts.decided).all()
    assert counts.decided[-1] == len(p)
