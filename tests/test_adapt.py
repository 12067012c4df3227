"""A run on another shop's products: their statistics moved to those it has learnt."""

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
from hsjax.inference.predict import load_run
from hsjax.scoring import evaluate_run

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
    for some in (records, records[::-1]):
        target = loaded.feed(some, groups=np.arange(len(some)))
        new = adapt.adapted(loaded, "batch_norm", target, None)
        found.append(new.stats["head"]["shared_norm"])
    for name in ("mean", "var"):
        np.testing.assert_allclose(*(x[name] for x in found), rtol=1e-4, atol=1e-4)
    still = loaded.stats["head"]["shared_norm"]["mean"]
    assert np.abs(np.asarray(found[0]["mean"]) - np.asarray(still)).max() > 1


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
