"""Contrastive alignment alone: heads on features, towers end to end, label texts."""

import numpy as np
import pytest
from encoders import (
    ALIGN,
    END_TO_END,
    extraction,
    path_of,
    published,
    records,
    write_bert,
    write_images,
)
from runs import report, run_config, sentence, train_run
from tiny import leaves

import hsjax
from hsjax.data.features import text_key
from hsjax.data.prepare import read_catalogue
from hsjax.data.records import CatalogueError
from hsjax.data.store import add_part, start_store
from hsjax.evaluation.comparison import compare_runs
from hsjax.evaluation.predictions import Predictions
from hsjax.evaluation.zero_shot import (
    zero_shot,
    zero_shot_classes,
    zero_shot_hits,
    zero_shot_table,
)
from hsjax.inference.label_texts import (
    check_names,
    check_zero_shot,
    label_vectors,
    text_embeddings,
    zero_shot_results,
)
from hsjax.models.published_files import read_published
from hsjax.models.published_weights import load_parameters
from hsjax.models.text_families import TEXT_FAMILIES
from hsjax.taxonomy import Taxonomy
from hsjax.trained.scoring import evaluate_run

SHARES = ("accuracy", "top5_accuracy")


def alignable(folder, products):
    """Titles are random vectors, pictures another linear map of their title's."""
    rng = np.random.default_rng(0)
    turn = rng.normal(size=(8, 12))
    titles = {key: rng.normal(size=8) for r in products if (key := key_of(r))}
    pictures = {
        r.image_key: titles.get(key_of(r), np.zeros(8)) @ turn
        for r in products
        if r.image_key
    }
    for name, items in (("title", titles), ("image", pictures)):
        vectors = np.stack(list(items.values())).astype(np.float32)
        start_store(folder / name, {"shape": [vectors.shape[1]]})
        add_part(folder / name, list(items), vectors)
    return {f"data.features.{m}": str(folder / m) for m in ("title", "image")}


def key_of(record):
    return text_key(record.texts["title"])


def heads_on_features(shop, stores, **changes):
    config = run_config({**path_of(shop), **ALIGN}).unlock()
    config.data.columns.text = ("title",)
    for key, folder in stores.items():
        config.data.features[key.split(".")[-1]] = folder
    config.update_from_flattened_dict(changes)
    return config.lock()


def test_projections_alone_learn_to_retrieve(shop, tmp_path):
    stores = alignable(tmp_path, records(run_config(path_of(shop))))
    steps = {"train.steps": 150, "train.eval_every": 50, "optim.learning_rate": 0.02}
    before = {"train.steps": 1, "train.eval_every": 1, "optim.learning_rate": 0.0}
    train_run(heads_on_features(shop, stores, **before), tmp_path / "before")
    train_run(heads_on_features(shop, stores, **steps), tmp_path / "after")
    found = [report(tmp_path / name)["metrics"] for name in ("before", "after")]
    for side in ("text_to_image", "image_to_text"):
        name = f"retrieval/{side}_r1"
        assert found[1][name] > found[0][name] + 0.4, found
        assert f"retrieval/{side}_r10_low" in found[1]
    # what an untrained head would be scored by is left out
    assert not any(name.startswith(("level", "path", "digits")) for name in found[1])
    text = (tmp_path / "after" / "report.md").read_text()
    assert "## Retrieval" in text
    assert "## Levels" not in text
    assert not (tmp_path / "after" / "confusion.png").exists()
    runs = [hsjax.load(tmp_path / name) for name in ("before", "after")]
    head = [leaves({k: r.params[k] for k in ("head", "fusion")}) for r in runs]
    still = [name for name in head[0] if not name.endswith("kernel']")]
    assert still
    for name in still:  # no loss reaches them; kernels only decay
        np.testing.assert_array_equal(head[0][name], head[1][name])


@pytest.mark.slow
def test_published_towers_are_aligned_end_to_end(shop, tmp_path):
    bert = write_bert(tmp_path, shop)
    (tmp_path / "image").mkdir()
    vit = write_images(tmp_path / "image", "vit")
    train_run(published(shop, bert, vit, **ALIGN, **END_TO_END), tmp_path / "run")
    _, start, _ = load_parameters(TEXT_FAMILIES["bert"], read_published(bert))
    run = hsjax.load(tmp_path / "run")
    before, after = leaves(start), leaves(run.params["text"])
    moved = [n for n in before if not np.array_equal(before[n], after[n])]
    assert len(moved) > 0.9 * len(before)
    assert "retrieval/text_to_image_r1" in report(tmp_path / "run")["metrics"]
    # label texts go through the text tower, as titles do
    texts = [r.texts["title"] for r in records(run.config) if r.texts["title"]][:7]
    found = text_embeddings(run, texts)
    expected = run.predict(run.records([{"title": text} for text in texts]))
    np.testing.assert_allclose(found, expected.embeddings["text"], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)


def test_a_monitor_that_nothing_trains_is_refused(shop, tmp_path):
    config = run_config({**path_of(shop), **ALIGN, "train.monitor": "path/accuracy"})
    assert "name loss or a metric of retrieval" in sentence(config, tmp_path)


TREE = Taxonomy.from_paths(
    [("M", "M > Shoes"), ("M", "M > Shirts"), ("W", "W > Shoes"), ("W",), ("X",)],
    separator=" > ",
)


def test_the_classes_are_where_products_end():
    codes, names = zero_shot_classes(TREE, kind="name")
    expected = {
        "M > Shoes": "Shoes",
        "M > Shirts": "Shirts",
        "W > Shoes": "Shoes",
        "W": "W",
        "X": "X",
    }
    assert dict(zip(codes.tolist(), names, strict=True)) == expected
    assert zero_shot_classes(TREE, kind="path")[1] == codes.tolist()
    goods = {"61": "Knitwear", "6109": "T-shirts"}
    tree = Taxonomy.from_paths([("61", "6109")], names=goods)
    assert zero_shot_classes(tree, kind="path")[1] == ["Knitwear > T-shirts"]
    with pytest.raises(ValueError, match="known: name, path"):
        zero_shot_classes(TREE, kind="both")


def test_hits_against_a_plain_count():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 5)), rng.normal(size=(12, 5))
    truth = rng.integers(-1, 12, 40)
    found = zero_shot_hits(x, y, truth)
    for row, (scores, own) in enumerate(zip(x @ y.T, truth, strict=True)):
        place = (scores > scores[own]).sum() if own >= 0 else 99
        assert found[row].tolist() == [place < 1, place < 5]
    # two classes of one name and three that are nearer
    y = np.eye(4)[[0, 0, 1, 2, 3]]
    x = np.array([[1.0, 0, 0, 0], [0.1, 0.4, 0.3, 0.2]])
    found = zero_shot_hits(x, y, np.array([1, 1]))
    assert found.tolist() == [[0.5, 1.0], [0.0, 1.0]]


def answers_of(truth, group, complete=True):
    """Predictions of which only the truth matters."""
    truth = np.array(truth, object)
    rows = len(truth)
    return Predictions(
        row=np.arange(rows) + 1,
        id=np.arange(rows).astype(str).astype(object),
        group=np.array(group),
        truth=truth,
        complete=np.broadcast_to(complete, rows).copy(),
        outside=np.zeros(rows, bool),
        decoded={"path": truth},
        valid={"path": np.ones(rows, bool)},
        prob=np.ones(truth.shape, np.float32),
        log_prob=np.zeros(rows, np.float32),
        topk_codes=truth,
        topk_probs=np.zeros(truth.shape, np.float32),
        level_topk=truth[:, :, None],
        present={},
        embeddings={},
        stage=np.full(rows, "", object),
        main="path",
        separator=" > ",
    )


def test_zero_shot_counts_what_is_there():
    codes, _ = zero_shot_classes(TREE, kind="path")
    texts = np.eye(len(codes))
    where = {code: i for i, code in enumerate(codes.tolist())}
    truth = [("M", "M > Shoes"), ("W", ""), ("X", "X > New"), ("M", ""), ("", "")]
    said = ["M > Shoes", "M > Shirts", "X", "X", "X"]
    complete = [True, True, True, False, False]
    p = answers_of(truth, [0, 1, 2, 3, 4], complete)
    image = np.stack([texts[where[code]] for code in said])
    title = image.copy()
    title[0] = 0  # absent
    found = zero_shot(p, {"image": image, "title": title}, texts, codes, bootstrap=50)
    # right, wrong, and outside of the tree; unknown ends and no label do not count
    assert found["zero_shot/image_rows"] == 3
    assert found["zero_shot/image_accuracy"] == pytest.approx(1 / 3)
    assert found["zero_shot/title_rows"] == 2
    assert found["zero_shot/title_accuracy"] == 0
    assert found["zero_shot/image_top5_accuracy"] == pytest.approx(2 / 3)
    low, high = (found[f"zero_shot/image_accuracy_{end}"] for end in ("low", "high"))
    assert 0 <= low < 1 / 3 < high <= 1
    text = zero_shot_table(found, ["image", "title"])
    assert "chance, 5 classes" in text


def test_rows_of_similarities_are_made_some_at_a_time(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 5)), rng.normal(size=(12, 5))
    truth = rng.integers(-1, 12, 40)
    whole = zero_shot_hits(x, y, truth)
    monkeypatch.setattr("hsjax.evaluation.retrieval.CELLS", 25)  # two rows
    np.testing.assert_array_equal(zero_shot_hits(x, y, truth), whole)


def scored(run):
    """Answers to the test part of the run's own catalogue."""
    catalogue = read_catalogue(run.config)
    rows = catalogue.rows("test")
    some = [catalogue.records[i] for i in rows]
    return run.predict(some, groups=catalogue.groups[rows])


def test_label_texts_are_encoded_where_titles_are_cached(shop, tmp_path):
    bert = write_bert(tmp_path, shop)
    train_run(extraction(shop, bert, "title"), tmp_path / "title")
    stores = alignable(tmp_path / "planted", records(run_config(path_of(shop))))
    stores["data.features.title"] = str(tmp_path / "title")
    products = records(run_config(path_of(shop)))
    lines = [f"{code},goods {code}" for code in sorted({r.path[-1] for r in products})]
    (tmp_path / "names.csv").write_text("\n".join(["code,name", *lines]))
    steps = {"train.steps": 1, "train.eval_every": 1}
    steps |= {"taxonomy.names": str(tmp_path / "names.csv")}
    train_run(heads_on_features(shop, stores, **steps), tmp_path / "cached")
    run = hsjax.load(tmp_path / "cached")
    products = run.records(str(shop))
    answers = run.predict(products)
    metrics, text = zero_shot_results(run, answers, label_vectors(run, "name"))
    assert metrics["zero_shot/classes"] == len(
        zero_shot_classes(run.tree, kind="name")[0]
    )
    for modality in ("title", "image"):
        for share in SHARES:
            assert 0 <= metrics[f"zero_shot/{modality}_{share}"] <= 1
            assert f"zero_shot/{modality}_{share}_low" in metrics
    assert "| image" in text
    asked = {"source": None, "part": "test", "corrupt": "", "seed": 0}
    evaluate_run(tmp_path / "cached", tmp_path / "out", zero_shot="name", **asked)
    found = report(tmp_path / "out")["metrics"]
    whole = zero_shot_results(run, scored(run), label_vectors(run, "name"))[0]
    assert found["zero_shot/title_rows"] == whole["zero_shot/title_rows"]
    for modality in ("title", "image"):
        name = f"zero_shot/{modality}_accuracy"
        assert found[name] == pytest.approx(whole[name])
    assert "## Zero-shot" in (tmp_path / "out" / "report.md").read_text()
    with pytest.raises(CatalogueError, match="known are name, path"):
        check_zero_shot(run, "names")
    with pytest.raises(CatalogueError, match="model that reads text"):
        check_zero_shot(None, "name")


def test_codes_alone_are_no_label_texts(caplog):
    paths = [("01", "010101"), ("01", "010102"), ("02", "020101")]
    bare = Taxonomy.from_paths(paths)
    with pytest.raises(CatalogueError, match=r"have no names: name them by taxonomy"):
        check_names(bare)
    check_names(TREE)
    assert not caplog.records
    check_names(Taxonomy.from_paths(paths, names={"010101": "Horses"}))
    assert "2 of 3 classes have no name" in caplog.text


def test_a_run_without_answers_is_not_compared(shop, tmp_path):
    stores = alignable(tmp_path, records(run_config(path_of(shop))))
    steps = {"train.steps": 1, "train.eval_every": 1}
    train_run(heads_on_features(shop, stores, **steps), tmp_path / "run")
    with pytest.raises(CatalogueError, match="no answers to compare"):
        compare_runs([str(tmp_path / "run")], [], tmp_path / "out")
    asked = {"source": None, "part": "test", "corrupt": "", "seed": 0}
    with pytest.raises(CatalogueError, match="--confidence: the run was trained witho"):
        evaluate_run(tmp_path / "run", tmp_path / "out", confidence=0.8, **asked)
