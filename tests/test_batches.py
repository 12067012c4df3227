"""The order of examples is a pure function of (seed, number); nothing is lost."""

import os
import pkgutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import grain
import numpy as np
import pytest
from tiny import VOCAB, ragged_tree, random_labels

import hsjax.data
from hsjax.batch import BatchSpec
from hsjax.data import batches
from hsjax.data.batches import (
    evaluation_batches,
    prefetched,
    sampling_weights,
    training_batches,
)
from hsjax.data.examples import Augmentation, Examples, assemble
from hsjax.data.rare_words import rare_words
from hsjax.data.tokens import Tokens

TREE = ragged_tree(0)
N, LENGTH = 29, 6
SPEC = BatchSpec((("title", LENGTH),), (1, 5, 4), TREE.num_levels)
AUGMENTED = Augmentation(seed=3, crop=True, flip=True, word_drop=0.8)
PLAIN = Augmentation()


def make_examples(labels=None, n=N):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (11, 9, 3), np.uint8) for _ in range(n)]
    pictures[4] = None
    words = np.tile(np.arange(LENGTH, dtype=np.int16), (n, 1))
    mask = words < rng.integers(1, LENGTH + 1, (n, 1))
    ids = np.where(mask, rng.integers(5, VOCAB, (n, LENGTH)), 0).astype(np.int32)
    return Examples(
        spec=SPEC,
        tokens={"title": Tokens(ids, mask, np.where(mask, words, np.int16(-1)))},
        images=pictures,
        resize=(11, 9),
        max_pixels=10**6,
        labels=random_labels(TREE, n, 1) if labels is None else labels,
        group=np.arange(n) // 2,
    )


EXAMPLES = make_examples()


def training(**options):
    options = {"batch_size": 6, "seed": 5, "augmentation": AUGMENTED} | options
    return training_batches(EXAMPLES, **options)


def order(dataset, batches):
    return np.concatenate([dataset[k]["index"] for k in range(batches)])


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_every_epoch_is_a_partition_in_another_order():
    epochs = order(training(), N)[: 6 * N].reshape(6, N)
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(N))
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == len(epochs)
    assert (order(training(seed=6), 5) != order(training(), 5)).any()


@pytest.mark.parametrize("weighted", [0.0, 0.5])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_shards_of_processes_are_the_rows_of_the_same_global_batches(
    processes, weighted
):
    whole = training(weighted_sampling=weighted)
    shards = [
        training(rows=rows, weighted_sampling=weighted)
        for rows in np.split(np.arange(6), processes)
    ]
    for k in (0, 1, 7, 100):
        parts, expected = [shard[k] for shard in shards], whole[k]
        assert_same(
            {name: np.concatenate([x[name] for x in parts]) for name in expected},
            expected,
        )


def test_shards_of_processes_partition_every_epoch():
    shards = [training(rows=rows) for rows in np.split(np.arange(6), 3)]
    seen = [[d[k]["index"] for d in shards] for k in range(N)]  # six epochs
    for epoch in np.concatenate([np.concatenate(x) for x in seen]).reshape(6, N):
        assert sorted(epoch.tolist()) == list(range(N))


def test_a_process_may_hold_rows_that_are_not_side_by_side():
    rows = np.array([0, 1, 4])
    part, whole = training(rows=rows)[3], training()[3]
    assert_same(part, {name: x[rows] for name, x in whole.items()})


@pytest.mark.parametrize("weighted", [0.0, 1.0])
def test_batch_k_does_not_depend_on_the_order_of_access(weighted):
    forward = [training(weighted_sampling=weighted)[k] for k in range(12)]
    dataset = training(weighted_sampling=weighted)
    for k in (11, 3, 3, 0, 7):
        assert_same(dataset[k], forward[k])
    later = prefetched(dataset, start=9, threads=2, workers=0, buffer=4)
    for k in (9, 10, 11):
        assert_same(next(later), forward[k])


def with_workers(workers, start=2):
    ahead = prefetched(training(), start=start, threads=2, workers=workers, buffer=4)
    for k in range(start, start + 5):
        assert_same(next(ahead), training()[k])


def test_threads_give_the_same_batches():
    with_workers(0)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_give_the_same_batches(workers):
    with_workers(workers)


@pytest.mark.parametrize("workers", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_no_worker_process_asks_for_an_accelerator(monkeypatch, workers):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda,cpu")
    told = grain.MapDataset.range(9).map(
        lambda k: (k, os.getpid(), os.environ.get("JAX_PLATFORMS"))
    )
    ahead = prefetched(told, start=2, threads=1, workers=workers, buffer=2)
    numbers, processes, platforms = zip(*ahead, strict=True)
    assert numbers == tuple(range(2, 9))
    assert len({*processes, os.getpid()}) == workers + 1
    assert set(platforms) == {"cpu"}
    assert os.environ["JAX_PLATFORMS"] == "cuda,cpu"


def test_workers_leave_no_variable_behind(monkeypatch):
    monkeypatch.delenv("HSJAX_TEST", raising=False)
    with batches._environment(HSJAX_TEST="1"):
        assert os.environ["HSJAX_TEST"] == "1"
    assert "HSJAX_TEST" not in os.environ


@pytest.mark.parametrize(("size", "processes"), [(4, 1), (7, 1), (29, 1), (12, 3)])
def test_evaluation_loses_no_row_and_its_weights_sum_to_n(size, processes):
    shards = [
        evaluation_batches(EXAMPLES, batch_size=size, rows=rows)
        for rows in np.split(np.arange(size), processes)
    ]
    seen, weight = [], 0.0
    for k in range(len(shards[0])):
        for shard in shards:  # the parts of a global batch lie one behind the other
            SPEC.check(shard[k])
            assert len(shard[k]["weight"]) == size // processes
            used = shard[k]["weight"] > 0
            seen += shard[k]["index"][used].tolist()
            weight += float(shard[k]["weight"].sum())
            assert (shard[k]["labels"][~used] == -1).all()
            assert (shard[k]["index"][~used] == -1).all()
            assert not shard[k]["has_title"][~used].any()
    assert seen == list(range(N))
    assert weight == N


def test_a_batch_holds_what_the_examples_hold():
    batch = evaluation_batches(EXAMPLES, batch_size=N)[0]
    np.testing.assert_array_equal(batch["labels"], EXAMPLES.labels)
    np.testing.assert_array_equal(batch["group"], EXAMPLES.group)
    np.testing.assert_array_equal(batch["title_ids"], EXAMPLES.tokens["title"].ids)
    assert np.flatnonzero(~batch["has_image"]).tolist() == [4]
    # the central crop of 11 x 9 to 5 x 4
    np.testing.assert_array_equal(batch["image"][0, 0], EXAMPLES.images[0][3:8, 3:7])


def test_weighted_sampling_draws_leaves_as_wanted():
    labels = np.repeat([[0, -1], [1, 0], [1, 1]], [20, 8, 1], axis=0).astype(np.int32)
    for power, wanted in [(1.0, [1 / 3] * 3), (0.5, np.sqrt([20, 8, 1]))]:
        weights = sampling_weights(labels, power)
        assert weights.sum() == pytest.approx(1)
        shares = np.array([weights[:20].sum(), weights[20:28].sum(), weights[28]])
        np.testing.assert_allclose(shares, wanted / np.sum(wanted), rtol=1e-6)
        # 71 rows without a label stay 71 of 100 draws
        more = np.concatenate([labels, np.full((71, 2), -1, np.int32)])
        again = sampling_weights(more, power)
        np.testing.assert_allclose(again[:29], 0.29 * weights, rtol=1e-6)
        np.testing.assert_allclose(again[29:], 0.01, rtol=1e-6)
    levels = np.pad(labels, ((0, 0), (0, TREE.num_levels - 2)), constant_values=-1)
    dataset = training_batches(
        make_examples(levels),
        batch_size=2000,
        seed=1,
        augmentation=PLAIN,
        weighted_sampling=1.0,
    )
    drawn = np.searchsorted([20, 28], dataset[0]["index"], side="right")
    np.testing.assert_allclose(np.bincount(drawn) / 2000, 1 / 3, atol=0.04)
    assert (dataset[0]["index"] != dataset[1]["index"]).any()


def test_a_draw_that_rounds_up_to_the_sum_is_the_last_example(monkeypatch):
    monkeypatch.setattr(
        np.random, "Generator", lambda bits: SimpleNamespace(random=one)
    )

    def one():
        return 1.0

    assert batches._draw(0, np.array([0.2, 0.5, 1.0]), 0) == 2


def test_which_example_is_drawn_says_nothing_of_its_crop():
    options = {"weighted_sampling": 1.0, "batch_size": 600}
    batch, places = training(**options)[0], {}
    for i, picture in zip(batch["index"].tolist(), batch["image"][:, 0], strict=True):
        if EXAMPLES.images[i] is not None:
            views = np.lib.stride_tricks.sliding_window_view(
                EXAMPLES.images[i], (5, 4, 3)
            )[:, :, 0]
            ways = (picture, picture[:, ::-1])
            top = [y for x in ways for y in np.argwhere((views == x).all((2, 3, 4)))]
            places.setdefault(i, set()).add(int(top[0][0]))
    assert np.mean([len(tops) for tops in places.values()]) > 4, "of 7 places"


def test_augmentation_depends_on_seed_and_number_alone():
    numbers, index = np.array([40, 41, 42]), np.array([1, 2, 3])
    batch = assemble(EXAMPLES, numbers, index, AUGMENTED)
    turned = assemble(EXAMPLES, numbers[::-1], index[::-1], AUGMENTED)
    assert_same({k: v[::-1] for k, v in turned.items()}, batch)
    alone = assemble(EXAMPLES, numbers[1:2], index[1:2], AUGMENTED)
    assert_same(alone, {k: v[1:2] for k, v in batch.items()})
    many = np.full(60, 1)
    views = assemble(EXAMPLES, np.arange(60), many, AUGMENTED)
    assert len({x.tobytes() for x in views["image"]}) > 20
    assert len({x.tobytes() for x in views["title_ids"]}) > 3
    other = assemble(EXAMPLES, np.arange(60), many, Augmentation(seed=4, crop=True))
    assert (views["image"] != other["image"]).any()
    still = assemble(EXAMPLES, np.arange(60), many, PLAIN)
    assert len({x.tobytes() for x in still["image"]}) == 1


def test_word_dropping_makes_whole_and_broken_texts_and_marks_the_empty_absent():
    full = Augmentation(seed=1, word_drop=1.0)
    rows = np.full(400, int(EXAMPLES.tokens["title"].mask.sum(axis=1).argmax()))
    batch = assemble(EXAMPLES, np.arange(400), rows, full)
    left = batch["title_mask"].sum(axis=1)
    assert set(left.tolist()) == set(range(LENGTH + 1))
    np.testing.assert_array_equal(batch["has_title"], left > 0)
    # half stay whole; the others lose a share of their own, uniform in 0..1, so that
    # one in LENGTH + 1 of them loses nothing either
    assert np.mean(left == LENGTH) == pytest.approx(0.5 + 0.5 / (LENGTH + 1), abs=0.08)
    assert left.mean() / LENGTH == pytest.approx(0.75, abs=0.06)


def test_names_alone_are_dropped_and_no_other_draw_changes():
    """Every second word is a name here."""
    names = np.zeros((N, LENGTH), bool)
    names[:, ::2] = True
    named = replace(EXAMPLES, names={"title": names})
    whole = int(EXAMPLES.tokens["title"].mask.sum(axis=1).argmax())
    rows, numbers = np.full(300, whole), np.arange(300)
    gone = Augmentation(seed=3, crop=True, flip=True, name_drop=1.0)
    batch = assemble(named, numbers, rows, gone)
    kept = EXAMPLES.tokens["title"].ids[whole][1::2]
    for ids, mask in zip(batch["title_ids"], batch["title_mask"], strict=True):
        np.testing.assert_array_equal(ids[mask], kept)
    half = assemble(named, numbers, rows, replace(gone, name_drop=0.5))
    count = half["title_mask"].sum(axis=1)
    share = (count.mean() - len(kept)) / names[0].sum()
    assert share == pytest.approx(0.5, abs=0.06)
    both = replace(AUGMENTED, name_drop=0.5)
    plain, more = (assemble(named, numbers, rows, a) for a in (AUGMENTED, both))
    np.testing.assert_array_equal(plain["image"], more["image"])
    scored = assemble(named, rows[:2], rows[:2])
    assert scored["title_mask"].sum() == 2 * LENGTH


def test_rare_words_are_names():
    texts = ["Nike red shoe", "Puma RED shoe", "", "red shoe x9", "red shoe"]
    assert (rare_words(texts, 3) == rare_words(texts, 3, share=0.5)).all()
    found = rare_words(texts, 3, share=0.5)
    assert found.tolist() == [
        [True, False, False],
        [True, False, False],
        [False] * 3,
        [False, False, True],
        [False] * 3,
    ]
    assert rare_words(["a b c d"], 2, share=2.0).tolist() == [[True, True]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: b.pop("group"), "has or lacks"),
        (lambda b: b.update(extra=b["group"]), "has or lacks"),
        (lambda b: b.update(labels=b["labels"][:, :1]), "labels is"),
        (lambda b: b.update(image=b["image"].astype(np.float32)), "image is"),
        (lambda b: b.update(has_title=b["has_title"][:2]), "has_title is"),
    ],
)
def test_a_batch_of_another_schema_is_refused(change, words):
    batch = training()[0]
    SPEC.check(batch)
    change(batch)
    with pytest.raises(ValueError, match=words):
        SPEC.check(batch)


def test_data_modules_leave_jax_out():
    names = [m.name for m in pkgutil.iter_modules(hsjax.data.__path__)]
    names = [f"hsjax.data.{n}" for n in names if n != "batches"]
    assert "hsjax.data.text" in names
    code = (
        "import importlib, sys\n"
        f"for name in ['hsjax', 'hsjax.taxonomy', 'hsjax.batch', *{names}]:\n"
        "    importlib.import_module(name)\n"
        "    assert 'jax' not in sys.modules, name\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
