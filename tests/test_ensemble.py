"""Several runs as one: the normalised geometric mean over whole paths, and no other."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from runs import TEXT, command, report, run_config, train_run
from tiny import ragged_tree, random_logits

from hsjax.baselines.fitting import answer_table
from hsjax.data.records import CatalogueError
from hsjax.evaluation.answer import make_answer
from hsjax.evaluation.collect import Rows, collect_predictions
from hsjax.evaluation.predictions import Predictions, read_predictions
from hsjax.hierarchy import leaf_log_probs
from hsjax.inference.predict import load_run
from hsjax.taxonomy import Taxonomy
from hsjax.trained.asked_rows import own_catalogue, own_rows
from hsjax.trained.ensemble import Member, ensemble_predictions
from hsjax.trained.experts import (
    LOG_PROBS,
    geometric_mean,
    in_batches,
    on_leaves,
    placed,
    shared_leaves,
)
from hsjax.trained.scoring import evaluate_run

ASKED = {"source": None, "part": "test", "corrupt": "", "seed": 0}
COLUMNS = {
    "data.columns.id": "id",
    "data.columns.image": "image",
    "data.columns.label": ("hs_code",),
    "data.columns.group": "group",
    "eval.topk": 500,  # every path
    "train.steps": 4,
}
NEAREST = {"task": "baseline", "baseline.kind": "nearest"}
NEAREST |= {"data.leave_out": ("42",)}  # it has no text of these


@pytest.fixture(scope="module")
def runs(shop, tmp_path_factory):
    """Two seeds on titles, a baseline on titles, one on titles and brands."""
    root, own = tmp_path_factory.mktemp("runs"), {"data.path": str(shop)}
    both = {"data.text.streams.title": ("title", "brand")}
    lines = {"a": {}, "b": {"seed": 1}, "near": NEAREST}
    lines["svm"] = {"task": "baseline", **both}
    for name, changes in lines.items():
        train_run(run_config({**TEXT, **COLUMNS, **own, **changes}), root / name)
    return root


@pytest.fixture(scope="module", autouse=True)
def quiet():
    """Without plots, most of the time of a small report."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("plot_confusion", "plot_reliability"):
            patch.setattr(
                f"hsjax.trained.reports.{name}", lambda predictions, path: None
            )
        yield


@pytest.fixture(scope="module")
def alone(runs, tmp_path_factory):
    """What each run answers by itself."""
    root, found = tmp_path_factory.mktemp("alone"), {}
    for name in ("a", "b", "near", "svm"):
        found[name] = answers(runs, name, root / name)
    return found


def answers(runs, names, output, **asked) -> Predictions:
    workdirs = [runs / name for name in names.split()]
    evaluate_run(workdirs, output, **{**ASKED, **asked})
    return read_predictions(output / "predictions.parquet")


def assert_same(found, expected, atol=1e-5):
    for name in ("row", "id", "group", "truth"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for name in ("prob", "log_prob"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), atol=atol
        )
    pairs = zip(path_probs(found), path_probs(expected), strict=True)
    assert all(one == pytest.approx(other, abs=atol) for one, other in pairs)
    np.testing.assert_array_equal(found.decoded["path"], expected.decoded["path"])


def path_probs(predictions):
    """A dict per row: deepest node -> probability of its path."""
    p = predictions
    return [
        {c: float(x) for c, x in zip(codes, probs, strict=True) if c}
        for codes, probs in zip(p.topk_codes, p.topk_probs, strict=True)
    ]


def product(*experts):
    """The normalised geometric mean of dicts of equal keys."""
    logs = {k: np.mean([np.log(x[k]) for x in experts]) for k in experts[0]}
    total = sum(np.exp(x) for x in logs.values())
    return {k: np.exp(x) / total for k, x in logs.items()}


def test_a_distribution_over_leaves_gives_what_a_run_answers():
    """In a ragged tree with STOP children: nodes, paths, levels, confidence."""
    tree = ragged_tree(3)
    logits, count = random_logits(tree, 40, seed=1), 40
    assert any(stop.any() for stop in tree.stop)
    outputs = SimpleNamespace(logits=logits, text=None, image=None)
    answer = make_answer(lambda p, s, b: (outputs, s), tree, topk=7)
    batch = {"weight": jnp.ones(count)}
    blank = np.full((count, tree.num_levels), "", object)
    index, no = np.arange(count), np.zeros(count, bool)
    expected, _ = collect_predictions(
        lambda batch: answer(None, None, batch, confidence=0.55),
        [batch],
        rows=Rows(index, index.astype(str).astype(object), index, blank, no, no),
        tree=tree,
    )
    leaves = shared_leaves(tree, [None])
    log_probs = np.asarray(leaf_log_probs(logits, tree), np.float64)
    found = answer_table(
        leaves,
        [log_probs[:11], log_probs[11:]],
        depth=tree.num_levels,
        topk=7,
        decode="path",
        confidence=0.55,
    )
    np.testing.assert_array_equal(found["decoded"]["path"], expected.decoded["path"])
    for name in ("prob", "log_prob", "topk_probs"):
        np.testing.assert_allclose(found[name], getattr(expected, name), atol=1e-5)
    for name in ("topk_codes", "level_topk", "confident"):
        np.testing.assert_array_equal(found[name], getattr(expected, name))
    assert 0 < (found["confident"] == "").sum() < count


def test_one_run_and_two_equal_ones_are_the_run(runs, alone, tmp_path):
    run = load_run(runs / "a")
    catalogue = own_catalogue(run.config, runs / "a", None)
    rows = own_rows(run.config, catalogue, "test")
    member = Member(runs / "a", run.config, run, None, rows, rows.records)
    one = ensemble_predictions([member], groups=rows.groups)
    assert_same(one, alone["a"])
    np.testing.assert_array_equal(one.present["title"], alone["a"].present["title"])
    np.testing.assert_array_equal(one.topk_codes[:, 0], alone["a"].topk_codes[:, 0])
    assert_same(answers(runs, "a a", tmp_path / "two"), alone["a"])


def test_two_seeds_are_their_geometric_mean(runs, alone, tmp_path):
    found = answers(runs, "a b", tmp_path)
    each = (path_probs(p) for p in (alone["a"], alone["b"], found))
    differ = 0
    for one, other, both in zip(*each, strict=True):
        expected = product(one, other)
        assert both == pytest.approx(expected, abs=1e-5)
        assert max(both, key=both.get) == next(iter(both))
        differ += abs(max(one.values()) - max(both.values())) > 1e-4
    assert differ
    told = report(tmp_path)["context"]
    assert told["run"] == "ensemble of a, b"
    assert told["ensemble"] == [str(runs / "a"), str(runs / "b")]
    assert told["decode"] == "path"
    text = (tmp_path / "report.md").read_text()
    assert "## Ensemble" in text
    assert "| a | trained, step 4 |" in text
    assert told["config_hash"] != report(runs / "a")["context"]["config_hash"]


def test_a_model_and_a_baseline(runs, alone, tmp_path):
    """A leaf without training text is not impossible to the baseline."""
    found = answers(runs, "a near", tmp_path, confidence=0.3)
    each = (path_probs(p) for p in (alone["a"], alone["near"], found))
    unseen = set()
    for model, nearest, both in zip(*each, strict=True):
        missing = model.keys() - nearest.keys()
        unseen |= missing
        least = min(nearest.values()) / max(len(missing), 1)
        expected = product(model, {**dict.fromkeys(missing, least), **nearest})
        assert both == pytest.approx(expected, abs=1e-5)
    assert {code[:2] for code in unseen} == {"42"}
    assert (found.confident != "").any()
    assert "| near | baseline, nearest |" in (tmp_path / "report.md").read_text()


def test_two_baselines_of_other_columns(runs, alone, tmp_path):
    found = answers(runs, "near svm", tmp_path)
    each = (path_probs(p) for p in (alone["near"], alone["svm"], found))
    for one, other, both in zip(*each, strict=True):
        missing = other.keys() - one.keys()
        least = min(one.values()) / len(missing)
        expected = product({**dict.fromkeys(missing, least), **one}, other)
        assert both == pytest.approx(expected, abs=1e-5)
    assert set(found.present) == {"title", "image"}  # of the first


def test_leaves_of_a_baseline_by_hand():
    paths = [("A", "A1"), ("A", "A2"), ("B", "B1"), ("B", "B2"), ("C",)]
    paths += [("C", "C1"), ("D",)]
    tree = Taxonomy.from_paths(paths)
    leaves = shared_leaves(tree, [None])
    assert sorted(leaves) == sorted(paths)
    # B is known no deeper, C ends there; A2 and D were never seen, nor was C1
    known = [("A", "A1"), ("B",), ("C",)]
    where = placed(known, leaves)
    found = np.exp(on_leaves(np.log([[0.5, 0.3, 0.2]]), where))[0]
    expected = {
        ("A", "A1"): 0.5,
        ("B", "B1"): 0.15,
        ("B", "B2"): 0.15,
        ("C",): 0.2,
        ("A", "A2"): 0.2 / 3,
        ("C", "C1"): 0.2 / 3,
        ("D",): 0.2 / 3,
    }
    np.testing.assert_allclose(found, [expected[x] for x in leaves])
    both = shared_leaves(tree, [known, [("D",), ("C",)]])
    assert set(both) == set(leaves) - {("A", "A2"), ("C", "C1")}


def test_a_mean_by_hand():
    one, other = np.log([[0.9, 0.1], [0.5, 0.5]]), np.log([[0.1, 0.9], [0.8, 0.2]])
    expected = [[0.5, 0.5], [2 / 3, 1 / 3]]
    np.testing.assert_allclose(np.exp(geometric_mean([one, other])), expected)
    # a constant of a row does not matter
    np.testing.assert_allclose(np.exp(geometric_mean([one - 3, other])), expected)


def test_batches_of_any_size_become_batches_of_one_size():
    rows = np.arange(23)
    cuts = [0, 3, 3, 15, 16, 23]
    parts = [
        {LOG_PROBS: rows[a:b, None] * 1.0, "here": rows[a:b] % 2 == 0}
        for a, b in zip(cuts, cuts[1:], strict=False)
    ]
    found = list(in_batches(parts, 5))
    assert [len(x["here"]) for x in found] == [5, 5, 5, 5, 3]
    joined = np.concatenate([x[LOG_PROBS][:, 0] for x in found])
    np.testing.assert_array_equal(joined, rows)
    assert not list(in_batches([], 5))


def test_a_file_by_parts_and_damaged(runs, shop, tmp_path):
    asked = {"source": str(shop), "corrupt": "no_text", "by": "shop"}
    found = answers(runs, "a b", tmp_path / "ab", **asked)
    one = answers(runs, "a", tmp_path / "a", **asked)
    assert not found.present["title"].any()
    np.testing.assert_array_equal(found.id, one.id)
    context = report(tmp_path / "ab")["context"]
    assert context["run"].startswith("ensemble of a, b, no_text")
    folders = context["by"]["folders"].values()
    counts = [
        report(tmp_path / "ab/by" / x)["metrics"]["count/rows"] for x in [*folders]
    ]
    assert sum(counts) == len(found)
    # both were trained on rows of the file: the report warns of each
    text = (tmp_path / "ab/report.md").read_text()
    assert all(f"the training part of {runs / name}:" in text for name in "ab")


def test_mistakes_end_in_a_sentence(runs, shop, tmp_path):
    def told(match, names, **asked):
        with pytest.raises(CatalogueError, match=match):
            answers(runs, names, tmp_path / "x", **asked)

    told("--zero_shot asks one run alone", "a b", zero_shot="name")
    other = {**TEXT, **COLUMNS, "data.path": str(shop), "task": "baseline"}
    train_run(run_config({**other, "taxonomy.min_products": 3}), runs / "cut")
    told(r"--run: .*cut has another label tree .* than .*/a ", "a b cut")
    train_run(run_config({**other, "data.columns.id": ""}), runs / "rows")
    told(r"rows and .*/a read other rows: '\d+' and '.*' stand at place 1;", "a rows")
    train_run(
        run_config({**other, "data.columns.text": ("brand", "title")}), runs / "order"
    )
    told("--corrupt: .*order reads the texts", "a order", corrupt="typos@2")
    asked = {"objective.classification": 0.0, "objective.contrastive": 1.0}
    both = {"model.modalities": ("title", "image"), "train.monitor": "loss"}
    unclassed = run_config({**TEXT, **COLUMNS, "data.path": str(shop), **asked, **both})
    train_run(unclassed, runs / "unclassed")
    told("unclassed was trained without classification", "a unclassed")
    assert not (tmp_path / "x/report.md").exists()


def test_the_command_takes_a_list(runs, tmp_path):
    flags = (f"--run={runs / 'a'},{runs / 'near'}", f"--output={tmp_path}")
    process = command(*flags, module="hsjax.evaluate")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "# Report: ensemble of a, near" in out
    process = command(*flags, "--audit-labels", module="hsjax.evaluate")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "--audit-labels goes by one run" in err
