"""Texts of like length share batches; order, epochs and losses stay what they were."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runs import TEXT, final_state, fit_run, metric_lines, prepare_run, run_config
from test_batches import EXAMPLES, assert_same
from tiny import bitwise_equal, ragged_tree, tiny_config, tiny_model

from hsjax.data import batches
from hsjax.data.batches import (
    batch_plan,
    evaluation_batches,
    prefetched,
    training_batches,
)
from hsjax.data.buckets import cut_texts, needed_buckets
from hsjax.data.examples import Augmentation
from hsjax.settings.choices import check_choices
from hsjax.train.objective import make_objective
from hsjax.train.start import rows_of_batch, training_order
from hsjax.train.workdir import ConfigError

N, SIZE, BUCKETS = len(EXAMPLES), 5, (2, 4, 6)
AUGMENTED = Augmentation(seed=3, crop=True, flip=True, word_drop=0.8)


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch):
    monkeypatch.setattr(batches, "WINDOW", 4)


def training(process=0, processes=1, **options):
    given = {"batch_size": SIZE, "seed": 5, "augmentation": AUGMENTED}
    given |= {"buckets": BUCKETS} | options
    rows = np.arange(given["batch_size"])[process::processes]
    return training_batches(EXAMPLES, rows=rows, **given)


def plans(count, **options):
    plan = batch_plan(EXAMPLES, **{"batch_size": SIZE, "seed": 5} | options)
    return [plan(k) for k in range(count)]


def test_an_epoch_has_the_rows_that_it_had():
    """29 rows in batches of 5: a batch belongs to the epoch of its first example."""
    count = 3 * N  # batches of 15 epochs
    grouped, plain = plans(count, buckets=BUCKETS), plans(count)
    firsts = [-(-epoch * N // SIZE) for epoch in range(16)]
    for start, stop in zip(firsts, firsts[1:], strict=False):
        drawn, expected = (
            sorted(np.concatenate([p.numbers for p in x[start:stop]]).tolist())
            for x in (grouped, plain)
        )
        assert drawn == expected
    # with the number goes the example, and so do its crop and lost words
    order = {n: i for p in plain for n, i in zip(p.numbers, p.index, strict=True)}
    for plan in grouped:
        assert [order[n] for n in plan.numbers] == plan.index.tolist()


def test_every_row_once_an_epoch_where_batches_divide_it():
    rows = np.concatenate([p.index for p in plans(58, batch_size=1, buckets=BUCKETS)])
    for epoch in rows.reshape(2, N):
        assert sorted(epoch.tolist()) == list(range(N))
    assert (rows[:N] != rows[N:]).any()


def test_batches_are_no_longer_than_their_rows_need():
    needed = needed_buckets(EXAMPLES.tokens, BUCKETS)
    lengths = EXAMPLES.tokens["title"].mask.sum(axis=1)
    np.testing.assert_array_equal(
        needed, [next(i for i, b in enumerate(BUCKETS) if b >= n) for n in lengths]
    )
    found, mixed = plans(60, buckets=BUCKETS), 0
    for plan in found:
        own = needed[plan.index]
        assert plan.length == BUCKETS[own.max()]
        mixed += own.min() != own.max()
    assert {p.length for p in found} == set(BUCKETS)
    assert mixed <= 2 * 60 / 3  # two borders of buckets in a window, 3 or 4 batches
    lengths = [p.length for p in found]
    assert lengths != sorted(lengths)  # a window does not go from short to long


def test_batches_are_cut_and_hold_what_they_held():
    grouped = training()
    numbers = {}
    for k in range(12):
        batch, plan = grouped[k], plans(12, buckets=BUCKETS)[k]
        assert batch["title_ids"].shape == (SIZE, plan.length)
        assert batch["title_ids"].flags.c_contiguous
        numbers |= dict(zip(plan.numbers.tolist(), range(SIZE), strict=True))
        plain = training(buckets=())
        for row, n in enumerate(plan.numbers.tolist()):
            other = plain[n // SIZE]
            for name, x in batch.items():
                expected = other[name][n % SIZE]
                if name in ("title_ids", "title_mask"):
                    assert not expected[plan.length :].any()
                    expected = expected[: plan.length]
                np.testing.assert_array_equal(x[row], expected, err_msg=name)


def test_evaluation_sees_every_row_once_at_its_own_length():
    needed = needed_buckets(EXAMPLES.tokens, BUCKETS)
    shards = [
        evaluation_batches(EXAMPLES, batch_size=6, rows=rows, buckets=BUCKETS)
        for rows in np.split(np.arange(6), 2)
    ]
    seen, lengths = [], []
    for parts in zip(*([x[k] for k in range(len(x))] for x in shards), strict=True):
        for part in parts:
            own = part["index"][part["weight"] > 0]
            seen += own.tolist()
            length = part["title_ids"].shape[1]
            assert (np.array(BUCKETS)[needed[own]] == length).all()
            whole = EXAMPLES.tokens["title"].at(own)
            assert not whole.mask[:, length:].any()
            np.testing.assert_array_equal(
                part["title_ids"][: len(own)], whole.ids[:, :length]
            )
        lengths.append(length)
    assert sorted(seen) == list(range(N))
    assert lengths == sorted(lengths, reverse=True)
    assert set(lengths) == set(BUCKETS)


@pytest.mark.parametrize("weighted", [0.0, 0.5])
def test_any_number_of_processes_sees_the_same(weighted):
    whole = training(weighted_sampling=weighted)
    shards = [training(p, 5, weighted_sampling=weighted) for p in range(5)]
    for k in (0, 1, 7, 100):
        parts, expected = [shard[k] for shard in shards], whole[k]
        merged = {n: np.concatenate([part[n] for part in parts]) for n in expected}
        assert_same(merged, expected)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow), 2])
def test_any_number_of_workers_and_any_start_see_the_same(workers):
    expected = [training()[k] for k in range(12)]
    for start in (0, 7):
        later = prefetched(
            training(), start=start, threads=2, workers=workers, buffer=4
        )
        for k in range(start, 12):
            assert_same(next(later), expected[k])


def test_the_loss_is_that_of_the_padded_rows():
    tree = ragged_tree(0)
    config = tiny_config(("title", "brand", "image"))
    model, params, stats, batch = tiny_model(config, tree, rows=6)
    batch["title_mask"][:, 4:] = batch["brand_mask"][:, 4:] = False
    cut = cut_texts(batch, ("title", "brand"), 4)
    assert cut["title_ids"].shape == cut["brand_ids"].shape == (6, 4)
    objective = make_objective(config.objective, tree, ("title", "brand", "image"))

    def loss(params, batch):
        outputs, _ = model.apply(params, stats, batch)
        return objective(outputs, batch)[0]

    study = jax.jit(jax.value_and_grad(loss))
    padded, short = (study(params, jax.tree.map(jnp.asarray, x)) for x in (batch, cut))
    np.testing.assert_allclose(short[0], padded[0], rtol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=2e-6),
        short[1],
        padded[1],
    )


BOTH = {**TEXT, "data.text.length": 24, "data.text.buckets": (14, 24)}


@pytest.mark.slow
def test_a_run_goes_on_where_it_was_and_compiles_once_a_bucket(tmp_path):
    prepared = prepare_run(run_config(BOTH))
    lengths = {p["title_ids"].shape[1] for p in _batches(prepared, 10)}
    assert lengths == {14, 24}
    whole = fit_run(prepared, tmp_path / "whole")
    assert whole.compiles == 0
    fit_run(prepared, tmp_path / "parts", train__steps=5)
    fit_run(prepared, tmp_path / "parts")
    _, expected, _ = final_state(prepared, tmp_path / "whole")
    _, found, position = final_state(prepared, tmp_path / "parts")
    assert bitwise_equal(found, expected)
    assert position["examples_seen"] == 160
    assert metric_lines(tmp_path / "parts") == metric_lines(tmp_path / "whole")
    rows = rows_of_batch(prepared.config, prepared.parts.train, 3)
    np.testing.assert_array_equal(rows, _batches(prepared, 4)[3]["index"])


def _batches(prepared, count):
    order = training_order(prepared.config, prepared.parts.train)
    return [order[k] for k in range(count)]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data.text.buckets": (8, 4)}, "the shortest first"),
        ({"data.text.buckets": (4, 6)}, "the last must be the longest .* 8"),
        ({"data.text.buckets": (4, 16)}, "the last must be the longest .* 8"),
        ({"data.text.buckets": (2, 8)}, "it must be 3 or more"),
        (
            {
                "data.text.buckets": (4, 8),
                "model.modalities": ("image",),
                "objective.contrastive": 0.0,
            },
            "no modality is a raw text",
        ),
    ],
)
def test_buckets_that_cannot_be(changes, told):
    with pytest.raises(ConfigError, match=told):
        check_choices(run_config(changes))
