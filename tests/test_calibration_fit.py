"""Temperatures, thresholds and sets are fitted where the truth is known by drawing it.

A posterior is drawn for each product and its label from the posterior; a model states
other logits, too sure by a known factor.
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats
from scipy.special import expit, logsumexp
from test_hierarchy import TREES
from tiny import random_logits

from hsjax.data.facts import IMAGE_FACTS, LEAVES, TEXT_FACTS, joint
from hsjax.evaluation.calibration import fit_calibration
from hsjax.evaluation.certainty import (
    certainty,
    lower_bound,
    one_of_each,
    share_interval,
)
from hsjax.evaluation.conformal import COVERAGES, least_probability
from hsjax.evaluation.reliability import calibration_error
from hsjax.evaluation.risk_coverage import area, risk_coverage
from hsjax.evaluation.temperature_fit import (
    LOG_TEMPERATURES,
    leaf_temperature,
    level_temperatures,
    likeliest,
)
from hsjax.filing import ACTIONS, Stakes, cheapest_action, filing_costs
from hsjax.hierarchy import leaf_columns, leaf_log_probs, leaf_paths, node_log_probs
from hsjax.leaf_sets import leaf_set, set_sizes
from hsjax.models.head import sum_leaves
from hsjax.taxonomy import Taxonomy
from hsjax.temperature import sibling_margins, tempered

TOO_SURE = {"ragged": (2.0, 0.6, 3.0), "deeper": (1.5, 1.0, 2.5, 0.5)}
ROWS = 4000
every_tree = pytest.mark.parametrize("name", TOO_SURE)


def draw(log_probs, rng):
    """An index of each row, by Gumbel's trick."""
    noise = rng.gumbel(size=log_probs.shape)
    return np.argmax(np.asarray(log_probs, np.float64) + noise, axis=1)


class Drawn(NamedTuple):
    """Products with the posterior that they were drawn from, and what is stated."""

    truth: list  # logits of the posterior
    stated: list  # logits of a model that is too sure
    labels: np.ndarray


@functools.cache
def products(name, seed, rows=ROWS):
    tree, rng = TREES[name], np.random.default_rng(seed)
    truth = random_logits(tree, rows, seed=seed, scale=1.5)
    stated = [x * t for x, t in zip(truth, TOO_SURE[name], strict=True)]
    leaf = draw(leaf_log_probs(truth, tree), rng)
    return Drawn(truth, stated, leaf_paths(tree)[leaf])


def fitted(name, drawn):
    margins = sibling_margins(drawn.stated, jnp.asarray(drawn.labels), TREES[name])
    return level_temperatures([*map(np.asarray, margins)], drawn.labels >= 0)


@every_tree
def test_the_temperatures_are_found_again(name):
    found = fitted(name, products(name, 1))
    np.testing.assert_allclose(found, TOO_SURE[name], rtol=0.15)


@every_tree
def test_each_temperature_is_the_likeliest_one(name):
    """By all levels at once and another method: the levels do not touch each other.

    With the prior of each.
    """
    drawn = products(name, 1)
    margins = sibling_margins(drawn.stated, jnp.asarray(drawn.labels), TREES[name])
    known = drawn.labels >= 0

    def loss(inverse):
        parts = zip(margins, known.T, inverse, strict=True)
        return sum(
            logsumexp(np.asarray(x, np.float64)[rows] * b, axis=1).sum()
            + np.log(b) ** 2 / 2
            for x, rows, b in parts
        )

    start = np.ones(len(margins))
    best = optimize.minimize(
        loss, start, method="L-BFGS-B", bounds=[(0.1, 10)] * len(start)
    )
    np.testing.assert_allclose(1 / np.array(fitted(name, drawn)), best.x, rtol=2e-3)


def test_a_flat_head_has_one_of_its_leaves_even_where_labels_end_early():
    tree = TREES["ragged"]
    paths, rng = leaf_paths(tree), np.random.default_rng(5)
    leaves = rng.normal(0, 1.5, (ROWS, len(paths)))
    labels = paths[draw(leaves, rng)].copy()
    labels[::3, 1:] = -1
    below = ((labels[:, None] == paths[None]) | (labels[:, None] < 0)).all(axis=2)
    below[7] = False  # no label
    assert leaf_temperature(2.5 * leaves, below) == pytest.approx(2.5, rel=0.05)
    logits = sum_leaves(jnp.asarray(2.5 * leaves, jnp.float32), tree)
    seen = np.asarray(leaf_columns(logits, tree))  # how a run gets at its leaf logits
    np.testing.assert_allclose(seen, 2.5 * leaves, rtol=1e-5, atol=1e-5)


def test_where_there_is_no_choice_or_hardly_a_row_it_stays_1():
    only = [np.zeros((50, 1)), np.zeros((50, 3))]
    known = np.zeros((50, 2), bool)
    known[:, 0] = known[:5, 1] = True
    assert level_temperatures(only, known) == [1.0, 1.0]


@pytest.mark.parametrize("rows", [25, 300, 5000])
def test_rows_that_are_all_right_leave_some_doubt(rows):
    """Of 25 that are, the least sure stated 0.62, and 0.99996 once T had no bottom."""
    ahead = np.linspace(0.49, 4, rows)
    level = [np.stack([np.zeros(rows), -ahead], axis=1)]
    (found,) = level_temperatures(level, np.ones((rows, 1), bool))
    doubt = 1 - expit(ahead / found)
    assert 0.3 < doubt.sum() < 1, "less than one mistake, as none was seen"
    assert found > 1.5 * np.exp(LOG_TEMPERATURES[0]), "the bound has no say"
    if rows == 25:
        assert 0.6 < 1 - doubt[0] < 0.95
    logits, first = np.stack([ahead, np.zeros(rows)], axis=1), np.eye(2, dtype=bool)
    assert leaf_temperature(logits, first[[0] * rows]) == pytest.approx(found)
    of = fit_calibration("temperature", expit(ahead), np.ones(rows, bool))
    assert of["temperature"] == pytest.approx(found, rel=1e-5)


@every_tree
def test_the_prior_hardly_moves_what_many_rows_tell(name):
    drawn = products(name, 1)
    margins = sibling_margins(drawn.stated, jnp.asarray(drawn.labels), TREES[name])
    for x, rows, found in zip(
        margins, drawn.labels.T >= 0, fitted(name, drawn), strict=True
    ):
        x = np.asarray(x, np.float64)[rows]
        x = x[np.isfinite(x).sum(axis=1) > 1]
        alone = likeliest(lambda t: logsumexp(x / t, axis=1).mean())  # noqa: B023
        assert found == pytest.approx(alone, rel=5e-3)


@every_tree
def test_it_makes_probabilities_honest_on_other_products(name):
    tree, temperatures = TREES[name], fitted(name, products(name, 1))
    other = products(name, 2)
    for level in range(tree.num_levels):
        errors = []
        for t in ((1.0,) * tree.num_levels, temperatures):
            soft = tempered(other.stated, tree, jnp.asarray(t, jnp.float32))
            probs = np.exp(np.asarray(node_log_probs(soft, tree)[level], np.float64))
            answer = tree.layout[level].ids[probs.argmax(axis=1)]
            right = answer == other.labels[:, level]
            ones = np.ones((ROWS, 1))
            errors.append(calibration_error(probs.max(axis=1), right, ones)[0])
        assert errors[1] <= max(0.03, errors[0] / 2), level


@every_tree
def test_sets_hold_the_true_leaf_as_often_as_promised(name):
    """Marginal coverage over draws of both parts; it hardly is more than promised."""
    tree, hits = TREES[name], {c: 0 for c in COVERAGES}
    draws, fit, rows = 10, 200, 400
    for seed in range(draws):
        drawn = products(name, 100 + seed, fit + rows)
        log_probs = np.asarray(leaf_log_probs(drawn.stated, tree))
        same = (drawn.labels[:, None] == leaf_paths(tree)[None]).all(axis=2)
        own = np.exp(log_probs)[same].astype(np.float64)
        for coverage in COVERAGES:
            least = least_probability(own[:fit], np.arange(fit), coverage)
            logits = [x[fit:] for x in drawn.stated]
            paths, counts, _ = leaf_set(logits, tree, least, most=len(same[0]))
            inside = (np.asarray(paths) == drawn.labels[fit:, None]).all(axis=2)
            hits[coverage] += int(inside.any(axis=1).sum())
            sizes = set_sizes(logits, tree, jnp.array([least], jnp.float32))
            np.testing.assert_array_equal(sizes[:, 0], counts)
    for coverage, count in hits.items():
        # of one threshold the rows are exchangeable, not independent: it varies, too
        spread = np.sqrt(
            coverage * (1 - coverage) * (1 / (draws * rows) + 1 / (draws * fit))
        )
        assert count / (draws * rows) >= coverage - 3 * spread
        assert count / (draws * rows) <= coverage + 1 / fit + 3 * spread + 0.02


def test_the_threshold_of_a_set_is_the_order_statistic():
    probs, apart = np.arange(1, 100) / 100, np.arange(99)
    assert least_probability(probs, apart, 0.9) == pytest.approx(0.1)  # 90th largest
    assert least_probability(probs, apart, 0.99) == pytest.approx(0.01)
    few = least_probability(probs[:98], apart[:98], 0.999)
    assert few == 0.0, "all leaves: too few rows"
    assert least_probability(np.zeros(0), np.zeros(0), 0.5) == 0.0


def test_rows_of_a_group_count_as_one():
    """Sets hold the leaf of a product of a new group, however alike groups are."""
    rng, hits, draws, groups = np.random.default_rng(0), 0, 3000, 40
    for _ in range(draws):
        sizes = rng.choice([1, 1, 12], groups)
        group = np.repeat(np.arange(groups), sizes)
        probs = rng.random(groups)[group]  # all of a group are as probable
        hits += rng.random() >= least_probability(probs, group, 0.9)
    low, high = stats.binom(draws, 0.9).ppf([0.001, 0.999]) / draws
    assert low <= hits / draws <= high + 1 / (groups + 1)


def stakes_of(count, seed=0):
    rng = np.random.default_rng(seed)
    duty = rng.choice([0.0, 3.0, 8.0, 12.0], count).astype(np.float32)
    return Stakes(duty, rng.gamma(0.5, 8.0, count).astype(np.float32), 1.8, 3.0)


def policy_cost(chosen, posterior, stakes, stated, shown):
    """What a policy costs in the mean when products are as the posterior says."""
    actions, _, filed = chosen
    filing = np.asarray(filing_costs(jnp.asarray(posterior, jnp.float32), stakes))
    own = np.take_along_axis(filing, filed[:, None], axis=1)[:, 0]
    named = np.argsort(-stated, axis=1)[:, :shown]
    rest = 1 - np.take_along_axis(posterior, named, axis=1).sum(axis=1)
    options = np.stack([own, stakes.ask + stakes.review * rest,
                        np.full(len(own), stakes.review)], axis=1)  # fmt: skip
    return options[np.arange(len(own)), actions].mean()


def decided(logits, tree, stakes, shown):
    actions, costs, path = cheapest_action(logits, tree, stakes, shown=shown)
    same = (np.asarray(path)[:, None] == leaf_paths(tree)[None]).all(axis=2)
    return np.asarray(actions), np.asarray(costs), same.argmax(axis=1)


@every_tree
def test_a_calibrated_policy_is_as_good_as_the_best_and_a_sharp_one_is_worse(name):
    tree, shown = TREES[name], 2
    probs = lambda x: np.exp(leaf_log_probs(x, tree))  # noqa: E731
    stakes = stakes_of(len(leaf_paths(tree)))
    drawn, temperatures = products(name, 3), fitted(name, products(name, 1))
    soft = tempered(drawn.stated, tree, jnp.asarray(temperatures, jnp.float32))
    posterior, cost = probs(drawn.truth), {}
    for how, x in (
        ("best", drawn.truth),
        ("calibrated", soft),
        ("sharp", drawn.stated),
    ):
        chosen = decided(x, tree, stakes, shown)
        cost[how] = policy_cost(chosen, posterior, stakes, probs(x), shown)
        if how == "best":  # what it expects is what it costs, and it does all three
            assert cost[how] == pytest.approx(chosen[1].mean(), rel=1e-4)
            assert {ACTIONS[i] for i in np.unique(chosen[0])} == {*ACTIONS}
    assert cost["calibrated"] <= 1.02 * cost["best"]
    assert cost["sharp"] > 1.03 * cost["best"]


def test_on_the_built_in_catalogue_the_policy_is_within_2_percent_of_the_best():
    """Products are what the catalogue's law draws; a model is three times too sure."""
    tree = Taxonomy.from_paths([(x.code[:2], x.code[:4], x.code) for x in LEAVES])
    table = joint((*TEXT_FACTS, *IMAGE_FACTS))
    known = np.stack([*table.values()])  # p(y, observation)
    rng, mass = np.random.default_rng(0), known.sum(axis=1)
    ends = [tree.decode(path)[-1] for path in leaf_paths(tree)]
    number = {leaf.code: i for i, leaf in enumerate(LEAVES)}
    place = [number[code] for code in ends]
    seen = rng.choice(len(known), 6000, p=mass / mass.sum())
    posterior = (known / mass[:, None])[seen][:, place]
    truth = draw(np.log(posterior + 1e-30), rng)
    stated = 3.0 * np.log(posterior + 1e-9)
    same = np.eye(len(ends), dtype=bool)[truth]
    temperature = leaf_temperature(stated[:3000], same[:3000])
    stakes, rest = stakes_of(len(ends)), slice(3000, None)
    cost = {}
    for how, t in (("best", 3.0), ("calibrated", temperature), ("sharp", 1.0)):
        logits = sum_leaves(jnp.asarray(stated[rest] / t, jnp.float32), tree)
        probs = np.exp(leaf_log_probs(logits, tree))
        chosen = decided(logits, tree, stakes, 2)
        cost[how] = policy_cost(chosen, posterior[rest], stakes, probs, 2)
    assert cost["calibrated"] <= 1.02 * cost["best"]
    assert cost["sharp"] > cost["calibrated"]


def test_a_bound_is_that_of_clopper_and_pearson():
    for right, rows in ((0, 5), (5, 5), (95, 100), (1, 300)):
        found = lower_bound(np.array(right), np.array(rows), 0.05)
        expected = stats.binomtest(right, rows, alternative="greater").proportion_ci(
            0.95
        )
        assert found == pytest.approx(expected.low, abs=1e-12)
    assert share_interval(0, 0)[0] != share_interval(0, 0)[0]  # nan


def counted(best, right, threshold):
    """By definition, of rows whose truth is known everywhere."""
    level = [np.flatnonzero(row >= threshold).max(initial=-1) for row in best]
    pairs = [(i, k) for i, k in enumerate(level) if k >= 0]
    return len(pairs), sum(right[i, k] for i, k in pairs)


def test_certainty_counts_the_deepest_nodes():
    rng = np.random.default_rng(0)
    best = np.sort(rng.random((60, 3)), axis=1)[:, ::-1]
    right = rng.random((60, 3)) < best
    found = certainty(best, np.ones((60, 3), bool), right)
    for t, decided_, judged, hits in zip(*found[:4], strict=True):
        assert (decided_, hits) == counted(best, right, t)
        assert judged == decided_
    unknown = certainty(best, np.zeros((60, 3), bool), right)
    assert unknown.judged.max() == 0
    assert unknown.least(0.5) is None


def test_a_stated_precision_holds_as_often_as_it_says():
    """Over many draws the threshold is too loose in 5 % of them at most."""
    wanted, broken, found, rng = 0.9, 0, [], np.random.default_rng(1)
    draws = 120
    for _ in range(draws):
        best = rng.beta(5, 1, (600, 1))
        right = rng.random((600, 1)) < best
        least = certainty(best, np.ones_like(right), right).least(wanted)
        if least is None:
            continue
        found.append(least)
        many = stats.beta(5, 1)
        true = many.expect(lambda p: p, lb=least) / many.sf(least)
        broken += true < wanted
    assert len(found) > 0.9 * draws, "and mostly there is one"
    assert broken <= stats.binom(draws, 0.05).ppf(0.999)


def test_a_stated_precision_holds_where_listings_are_alike():
    """Groups of ten: each row counted, the promise breaks; a row of each, it holds."""
    wanted, draws, groups = 0.9, 120, 500
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(groups), 10)
    names = np.array([f"row {i}" for i in rng.permutation(len(group))], object)
    one = one_of_each(group, names)
    broken, found = np.zeros(2, int), np.zeros(2, int)
    for _ in range(draws):
        best = rng.beta(5, 1, (groups, 1))[group]
        right = rng.random((groups, 1))[group] < best
        for how, rows in enumerate((one, slice(None))):
            judged = np.ones_like(right[rows])
            least = certainty(best[rows], judged, right[rows]).least(wanted)
            if least is not None:
                found[how] += 1
                true = 5 / 6 * (1 - least**6) / (1 - least**5)  # E(p | p >= least)
                broken[how] += true < wanted
    assert found[0] > 0.8 * draws, "and mostly there is one"
    most = stats.binom(draws, 0.05).ppf(0.999)
    assert broken[0] <= most < broken[1]


def test_the_row_of_a_group_is_drawn_whatever_the_order():
    rng = np.random.default_rng(0)
    group, names = rng.integers(0, 300, 3000), np.arange(3000).astype(str)
    one = one_of_each(group, names)
    assert sorted(group[one].tolist()) == np.unique(group).tolist()
    mixed = rng.permutation(3000)
    again = mixed[one_of_each(group[mixed], names[mixed])]
    assert sorted(again.tolist()) == one.tolist()
    # each is as likely: the drawn one is nowhere the first or the last as a rule
    place = [(np.flatnonzero(group == group[i]) < i).mean() for i in one]
    assert 0.4 < np.mean(place) < 0.6


def test_nothing_that_is_wrong_is_precise():
    best, right = np.full((500, 1), 0.99), np.zeros((500, 1), bool)
    assert certainty(best, np.ones_like(right), right).least(0.5) is None


def test_risk_is_counted_from_the_surest_on():
    rng = np.random.default_rng(0)
    stated, right = rng.random(50), rng.random(50) < 0.7
    coverage, risk = risk_coverage(stated, right)
    order = np.argsort(-stated)
    for k in range(50):
        assert coverage[k] == pytest.approx((k + 1) / 50)
        assert risk[k] == pytest.approx(1 - right[order[: k + 1]].mean())
    assert area((coverage, risk)) == pytest.approx(risk.mean())
    same = [risk_coverage(np.full(50, 0.5), right[i])[1] for i in (order, order[::-1])]
    np.testing.assert_allclose(same[0], same[1])
