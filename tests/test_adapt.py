"""A run on another shop's products: their statistics moved to those it has learnt."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runs import command, report, run_config, train_run

from hsjax.batch import BatchSpec
from hsjax.data.features import text_key
from hsjax.data.records import CatalogueError
from hsjax.data.store import add_part, start_store
from hsjax.inference import adapt
from hsjax.inference.adapt import _move, _moved, moments
from hsjax.inference.predict import Run, load_run
from hsjax.models.build import build_model
from hsjax.taxonomy import Taxonomy
from hsjax.trained.scoring import evaluate_run

SIZE, CLASSES = 6, ("640391", "610910", "420212", "950300")
SPEC = BatchSpec((), None, 1, (("title", (SIZE,)),))
OUT = {"source": None, "part": "test", "corrupt": "", "seed": 0}


def batches(x, size=50):
    """Some rows are padding, and some lack the modality: neither counts."""
    for start in range(0, len(x), size):
        batch = SPEC.padding(size + 2)
        rows = x[start : start + size]
        batch["title_features"][: len(rows)] = rows
        batch["title_features"][-2:] = 1e6
        batch["has_title"][: len(rows)] = True
        batch["has_title"][-1] = True
        batch["weight"][: len(rows)] = 1.0
        batch["weight"][-2] = 1.0
        yield {name: jnp.asarray(array) for name, array in batch.items()}


def drawn(seed, scale=1.0, shift=0.0, rows=400):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, SIZE)) @ rng.normal(size=(SIZE, SIZE)) * scale + shift


def test_moments_are_those_of_what_is_there():
    x = drawn(0)
    found = moments(batches(x), SPEC)["title"]
    assert found.count == len(x)
    np.testing.assert_allclose(found.mean, x.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found.covariance, np.cov(x.T), rtol=1e-4, atol=1e-4)
    with pytest.raises(CatalogueError, match="1 products have title, too few"):
        moments(batches(x[:1]), SPEC)


@pytest.mark.parametrize("full", [False, True])
def test_what_is_moved_has_the_statistics_of_the_source(monkeypatch, full):
    monkeypatch.setattr(adapt, "RIDGE", 1e-9)
    target, source = drawn(1, 3.0, 5.0), drawn(2)
    theirs, ours = (moments(batches(x), SPEC)["title"] for x in (target, source))
    move = {"title": _move(theirs, ours, full=full)}
    batch = {"title_features": jnp.asarray(target, jnp.float32)}
    found = np.asarray(_moved(batch, move)["title_features"])
    np.testing.assert_allclose(found.mean(axis=0), ours.mean, atol=1e-3)
    if full:
        np.testing.assert_allclose(
            np.cov(found.T), ours.covariance, rtol=0.02, atol=0.02
        )
    else:
        np.testing.assert_allclose(np.cov(found.T), theirs.covariance, rtol=0.01)


BOTH = BatchSpec((), (1, 8, 8), 2, (("title", (SIZE,)),))
LEAVES = (("a", "a1"), ("a", "a2"), ("b", "b1"), ("b", "b2"))


def norms_run(dropout):
    """Untrained, of random parameters: norms in the pictures' tower and at each level,
    behind each other.
    """
    config = run_config(
        model__image__norm="batch",
        model__image__dropout=dropout,
        model__head__norm="batch",
        model__head__level_width=8,
        model__head__dropout=dropout,
        model__modality_dropout=dropout,
        objective__contrastive=0.0,
    )
    tree = Taxonomy.from_paths(LEAVES)
    model = build_model(config, BOTH, tree, vocab_size=0)
    shapes, stats = jax.jit(model.init)(jax.random.key(0), BOTH.padding(2))
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: jnp.asarray(x + rng.normal(0, 0.3, x.shape), x.dtype), shapes
    )
    stats = jax.tree.map(lambda x: x + 0.5, stats)
    return Run(config, tree, None, BOTH, model, 0, params, stats, model.apply)


def products(rows=44):
    """(columns of a batch, labels): a class has vectors and colours of its own, and two
    of three products have no picture.
    """
    rng = np.random.default_rng(0)
    label = np.arange(rows) % len(LEAVES)
    columns = BOTH.padding(rows)
    columns["title_features"][:] = 3 * label[:, None] + rng.normal(size=(rows, SIZE))
    colour = 40 + 50 * label.reshape(-1, 1, 1, 1, 1)
    columns["image"][:] = colour + rng.integers(0, 40, columns["image"].shape)
    columns["has_title"][:] = True
    columns["has_image"][:] = rng.random(rows) < 1 / 3
    columns["weight"][:] = 1.0
    return columns, label


def cut(columns, order, size):
    """Batches of these rows, the last one filled up with padding."""
    found = []
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        rest = BOTH.padding(size - len(rows))
        found.append(
            {k: np.concatenate([x[rows], rest[k]]) for k, x in columns.items()}
        )
    return found


def new_statistics(run, target):
    return adapt.adapted(run, "batch_norm", target, None).stats


def test_no_norm_asks_how_rows_are_ordered_and_cut():
    """Neither those behind other norms nor those that count products with pictures."""
    run, (columns, label) = norms_run(dropout=0.2), products()
    by_class = np.lexsort((label, columns["has_image"]))
    shuffled = np.random.default_rng(1).permutation(len(label))
    whole = new_statistics(run, cut(columns, shuffled, len(label)))
    assert {"level1_layer_norm", "level2_layer_norm"} < set(whole["head"])
    assert len(whole["image"]) > 2
    for order, size in ((by_class, 8), (shuffled, 8), (by_class, 12)):
        batches = cut(columns, order, size)
        if order is by_class:
            assert not batches[0]["has_image"].any()
            assert batches[-1]["has_image"].any()
        found = new_statistics(run, batches)
        near = jax.tree.map(
            lambda x, y: np.allclose(x, y, rtol=1e-4, atol=1e-4), found, whole
        )
        assert jax.tree.all(near), (size, near)


def test_norms_have_the_statistics_of_what_answers_give_them():
    """At them a training batch of all rows is answered as any row is alone."""
    run, (columns, label) = norms_run(dropout=0.0), products()
    stats = new_statistics(run, cut(columns, np.argsort(label), 8))
    batch, key = cut(columns, np.arange(len(label)), len(label))[0], jax.random.key(0)
    apply = jax.jit(run.model.apply)
    learnt, _ = apply(run.params, run.stats, batch, dropout_key=key)
    answered, _ = apply(run.params, stats, batch)
    for one, other in zip(learnt.logits, answered.logits, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_where_no_product_has_a_picture_their_norms_stay():
    run, (columns, label) = norms_run(dropout=0.2), products()
    columns["has_image"][:] = False
    found = new_statistics(run, cut(columns, np.arange(len(label)), 12))
    jax.tree.map(np.testing.assert_array_equal, found["image"], run.stats["image"])
    moved = jax.tree.map(np.array_equal, found["head"], run.stats["head"])
    assert not any(jax.tree.leaves(moved))


@pytest.fixture(scope="module")
def shops(tmp_path_factory):
    """(own catalogue, the other shop's, store): there vectors are larger and apart."""
    root = tmp_path_factory.mktemp("shops")
    rng = np.random.default_rng(0)
    centres = 2 * rng.normal(size=(len(CLASSES), SIZE))
    seen = {}
    for shop, count in (("own", 400), ("other", 200)):
        lines = ["title,hs_code"]
        for i in range(count):
            label = i % len(CLASSES)
            vector = centres[label] + 0.3 * rng.normal(size=SIZE)
            title = f"{shop} product {i}"
            seen[title] = vector if shop == "own" else 4 * vector + 9
            lines.append(f"{title},{CLASSES[label]}")
        (root / f"{shop}.csv").write_text("\n".join(lines) + "\n")
    start_store(root / "title", {"shape": [SIZE]})
    vectors = np.stack(list(seen.values())).astype(np.float32)
    add_part(root / "title", list(map(text_key, seen)), vectors)
    return root


@pytest.fixture(scope="module")
def run(shops, tmp_path_factory):
    config = run_config().unlock()
    config.update_from_flattened_dict(
        {
            "data.path": str(shops / "own.csv"),
            "data.columns.text": ("title",),
            "data.columns.label": ("hs_code",),
            "data.columns.image": "",
            "data.features.title": str(shops / "title"),
            "model.modalities": ("title",),
            "model.fusion.norm": "raw",
            "model.head.norm": "batch",
            "model.head.level_width": 8,
            "objective.contrastive": 0.0,
            "optim.learning_rate": 0.02,
            "train.steps": 60,
            "train.eval_every": 30,
        }
    )
    folder = tmp_path_factory.mktemp("run") / "a"
    train_run(config.lock(), folder)
    return folder


def accuracy(run, output, **asked):
    evaluate_run(run, output, **{**OUT, **asked})
    return report(output)["metrics"]["level3/accuracy"]


def test_norms_take_the_whole_of_the_target_in_any_order(run, shops):
    """Few rows or many, of a small batch or a large: the same mean and variance."""
    loaded = load_run(run)
    records = loaded.records(shops / "other.csv")
    found = []
    by_class = sorted(records, key=lambda record: record.path)
    for some in (records, by_class):
        target = loaded.feed(some, groups=np.arange(len(some)))
        new = adapt.adapted(loaded, "batch_norm", target, None)
        found.append(new.stats["head"])
    near = jax.tree.map(lambda x, y: np.allclose(x, y, rtol=1e-4, atol=1e-4), *found)
    assert jax.tree.all(near), near
    new, old = (x["shared_norm"]["mean"] for x in (found[0], loaded.stats["head"]))
    assert np.abs(np.asarray(new) - np.asarray(old)).max() > 1


def test_what_is_read_raw_is_not_left_behind_in_silence(run):
    loaded = load_run(run)
    config = loaded.config.copy_and_resolve_references().unlock()
    config.model.modalities = ("title", "image")
    with pytest.raises(CatalogueError, match="this run reads image raw"):
        adapt.check_adaptation(loaded._replace(config=config), "mean")
    adapt.check_adaptation(loaded, "mean")


@pytest.mark.parametrize("kind", ["coral", "batch_norm"])
def test_another_shop_is_answered_once_its_statistics_are_moved(
    run, shops, tmp_path, kind
):
    other = {"source": str(shops / "other.csv")}
    assert accuracy(run, tmp_path / "own") > 0.95
    before = accuracy(run, tmp_path / "before", **other)
    after = accuracy(run, tmp_path / "after", adapt=kind, **other)
    assert before < 0.75
    assert after > before + 0.2
    text = (tmp_path / "after/report.md").read_text()
    assert f"adapted to these rows ({kind})" in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--adapt=corral"], "known are mean, coral, batch_norm"),
        (["--adapt=coral", "--zero_shot=name"], "--adapt goes by one run"),
        (["--adapt=coral", "--audit-labels"], "--adapt says nothing with"),
    ],
)
def test_mistakes_end_in_a_sentence(run, tmp_path, words, told):
    words = [f"--run={run}", f"--output={tmp_path / 'x'}", *words]
    done = command(*words, module="hsjax.evaluate")
    said = "".join(done.communicate(timeout=300))
    assert done.returncode
    assert told in said
