"""New sub-categories from catalogue to tree: planted ones are found, shown, taken."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from runs import TEXT, run_config, sentence, train_run

from hsjax.data.features import text_key
from hsjax.data.prepare import read_catalogue
from hsjax.data.quarantine import Quarantine
from hsjax.data.store import add_part, start_store
from hsjax.evaluation.in_tree import in_tree
from hsjax.evaluation.predictions import read_predictions
from hsjax.features.cluster_cascade import undivided
from hsjax.recategorize.diff import read_diff
from hsjax.recategorize.files import Found
from hsjax.recategorize.new_classes import score_new_classes
from hsjax.recategorize.products import read_branch
from hsjax.recategorize.refinement import refine
from hsjax.taxonomy import Taxonomy

SIZE, EACH = 8, 60
CLASSES = {
    "Shoes > Closed > Boots": "boots",
    "Shoes > Closed > Loafers": "loafers",
    "Shoes > Closed > Sneakers": "sneakers",
    "Shoes > Open > Sandals": "sandals",
    "Bags > Totes > Canvas": "tote",
    "Bags > Clutches > Silk": "clutch",
}
FOUND = {
    **TEXT,
    "task": "recategorize",
    "data.columns.text": ("title",),
    "data.columns.label": ("label",),
    "data.columns.label_kind": "path",
    "data.columns.id": "id",
    "recategorize.branch": "Shoes",
    "recategorize.keep": 2,
    "recategorize.truth": 3,
    "recategorize.filter_clusters": 3,
    "recategorize.filter_share": 0.95,
    "recategorize.neighbours": 10,
    "recategorize.dimensions": 2,
    "recategorize.levels": 1,
    "recategorize.max_clusters": 5,
    "recategorize.min_size": 40,
    "recategorize.resamples": 3,
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A catalogue whose classes are groups of vectors, and the store of its titles."""
    root = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    keys, vectors, rows = [], [], []
    for label, word in CLASSES.items():
        centre = 4 * rng.normal(size=SIZE)
        for i in range(EACH):
            title = f"acme {word} number{rng.integers(10**6)} {i}"
            rows.append((f"p{len(rows)}", title, label))
            keys.append(text_key(title))
            vectors.append(centre + rng.normal(size=SIZE))
    rows += [("bare", "a product of closed shoes", "Shoes > Closed"), ("no", "x", "")]
    for _, title, _ in rows[-2:]:
        keys.append(text_key(title))
        vectors.append(rng.normal(size=SIZE))
    with (root / "shop.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "title", "label"), *rows])
    start_store(root / "title", {"shape": [SIZE]})
    add_part(root / "title", keys, np.array(vectors, np.float32))
    return root


def found_config(shop, **changes):
    places = {"data.path": str(shop / "shop.csv")}
    places["data.features.title"] = str(shop / "title")
    return run_config({**FOUND, **places}, **changes)


@pytest.fixture(scope="module")
def run(shop, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "a"
    printed = train_run(found_config(shop), workdir)
    return workdir, printed


def metrics_of(workdir):
    return json.loads((workdir / "report.json").read_text())["metrics"]


def test_planted_classes_are_found_below_the_branch_alone(run):
    workdir, printed = run
    found = metrics_of(workdir)
    assert found["clusters"] == 4  # three closed ones; open shoes have one class
    assert found["hungarian_accuracy"] > 0.95
    assert found["ari"] > 0.9
    assert found["purity"] > found["purity_chance"] + 0.3
    assert found["coverage"] == 1.0
    assert 0.65 < found["kept/coverage"] < 0.75  # open shoes were not divided
    assert "Shoes > Closed" in printed
    assert "Bags" not in printed
    names = {p["name"] for p in proposals(workdir)["proposals"]}
    assert names == {"boots", "loafers", "sneakers"}


def proposals(workdir, node="Shoes_Closed"):
    (path,) = workdir.glob(f"proposals_{node}_*.json")
    return json.loads(path.read_text())


def test_what_is_left_out_is_listed_and_labels_below_are_not_seen(run):
    workdir, _ = run
    table = pq.read_table(workdir / "clusters.parquet").to_pydict()
    assert len(table["row"]) == 4 * EACH + 1
    with (workdir / "left_out.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    none = {i for i, key in zip(table["id"], table["cluster"], strict=True) if not key}
    assert {row["id"] for row in listed} == none
    assert all(row["reason"] for row in listed)
    few = [r for r in listed if r["node"] == "Shoes > Open"]
    assert len(few) == EACH
    told = "fewer than 80 products, twice recategorize.min_size"
    assert {r["reason"] for r in few} == {told}
    tree = Taxonomy.load(workdir / "taxonomy.json")
    assert "Shoes > Closed > Boots" not in tree.codes[2].tolist()
    assert "Bags > Totes > Canvas" in tree.codes[2].tolist()


def test_every_cluster_is_on_the_review_page(run):
    workdir, _ = run
    (path,) = workdir.glob("review_Shoes_Closed_*.html")
    page = path.read_text()
    for name in ("boots", "loafers", "sneakers"):
        assert name in page
    assert proposals(workdir)["digest"] in page


def test_the_same_seed_proposes_the_same_and_is_done(run, shop, tmp_path):
    workdir, _ = run
    again = train_run(found_config(shop), workdir)
    assert "is done" in again
    train_run(found_config(shop), tmp_path / "b")
    assert proposals(tmp_path / "b") == proposals(workdir)


def test_what_was_found_by_other_settings_is_not_written_over(run, shop):
    workdir, _ = run
    told = sentence(found_config(shop, recategorize__min_size=30), workdir)
    assert "take a new --workdir" in told


def test_every_node_has_a_page_of_its_own():
    empty = np.zeros(0, str)
    none = {"rows": empty, "records": [], "titles": [], "truth": empty, "told": empty}
    none |= {"level": 1, "cascade": undivided(0)}
    pages = [Found(code=c, **none).page for c in ("A & B", "A/B", "Б", "В")]
    assert len(set(pages)) == 4


def decide(workdir, path, **changes):
    """Accepts all but what `changes` names: (action, name, name of the other)."""
    found = proposals(workdir)
    keys = {p["name"]: p["key"] for p in found["proposals"]}
    decisions = []
    for p in found["proposals"]:
        action, name, into = changes.get(p["name"], ("accept", p["name"], ""))
        decision = {"key": p["key"], "action": action, "name": name, "note": ""}
        decisions.append(decision | {"into": keys.get(into, "")})
    document = {"proposals": found["digest"], "reviewer": "", "date": "2026-11-22"}
    path.write_text(json.dumps(document | {"decisions": decisions}))
    return path


def read_refined(shop, output, column, tree):
    keys = {
        "data.path": str(output / "catalogue.parquet"),
        "data.columns.label": (column,),
        "data.columns.group": "refined_group",
        "data.columns.split": "refined_split",
        "data.split.by": "column",
        "taxonomy.path": str(output / tree),
        "task": "train",
    }
    return read_catalogue(
        found_config(shop, **{k.replace(".", "__"): v for k, v in keys.items()})
    )


def test_decisions_become_a_tree_and_labels(run, shop, tmp_path):
    workdir, _ = run
    path = decide(
        workdir,
        tmp_path / "decisions.json",
        boots=("accept", "High boots", ""),
        loafers=("reject", "loafers", ""),
    )
    told = refine(workdir, tmp_path / "new", decisions=[path], diff=None)
    assert "--config.taxonomy.path" in told
    tree = Taxonomy.load(tmp_path / "new/taxonomy.json")
    old = Taxonomy.load(tmp_path / "new/old_taxonomy.json")
    for level, codes in enumerate(old.codes):  # every code keeps its id
        assert tree.codes[level][: len(codes)].tolist() == codes.tolist()
    new = tree.codes[2][len(old.codes[2]) :].tolist()
    assert {*new} == {"Shoes > Closed > High boots", "Shoes > Closed > sneakers"}
    table = pq.read_table(tmp_path / "new/catalogue.parquet").to_pydict()
    by_word = {}
    for title, label in zip(table["title"], table["refined_label"], strict=True):
        by_word.setdefault(title.split()[1:2][0] if " " in title else "", []).append(
            label
        )
    assert by_word["boots"].count("Shoes > Closed > High boots") > 0.8 * EACH
    assert set(by_word["loafers"]) <= {"Shoes > Closed", *new}
    assert set(by_word["tote"]) == {"Bags > Totes > Canvas"}
    diff = read_diff(tmp_path / "new/diff.json")
    assert diff.operations[0].provenance["decisions"] == str(path)


def test_merged_proposals_are_one_node(run, tmp_path):
    workdir, _ = run
    merged = ("merge", "loafers", "boots")
    path = decide(workdir, tmp_path / "d.json", loafers=merged)
    refine(workdir, tmp_path / "new", decisions=[path], diff=None)
    table = pq.read_table(tmp_path / "new/catalogue.parquet").to_pydict()
    labels = [
        label
        for title, label in zip(table["title"], table["refined_label"], strict=True)
        if "loafers" in title
    ]
    assert labels.count("Shoes > Closed > boots") > 0.8 * EACH


def test_old_and_new_labels_are_split_alike(run, shop, tmp_path):
    workdir, _ = run
    refine(workdir, tmp_path / "new", decisions=[], diff=None)
    before = read_branch(found_config(shop), Quarantine())
    parts = {
        record.id: part
        for record, part in zip(before.records, before.parts, strict=True)
    }
    for column, tree in (
        ("old_label", "old_taxonomy.json"),
        ("refined_label", "taxonomy.json"),
    ):
        catalogue = read_refined(shop, tmp_path / "new", column, tree)
        for record, part in zip(catalogue.records, catalogue.parts, strict=True):
            assert parts[record.id] == part
        assert not catalogue.outside.any()
    loose = [r for r in catalogue.records if r.path == ("Shoes", "Shoes > Closed")]
    assert loose
    assert not any(r.complete for r in loose)


def test_an_edited_diff_is_applied(run, tmp_path):
    workdir, _ = run
    document = json.loads((workdir / "diff.json").read_text())
    rename = {"kind": "rename", "level": 1, "code": "Bags", "name": "All bags"}
    document["operations"].append(rename)
    (tmp_path / "diff.json").write_text(json.dumps(document))
    refine(workdir, tmp_path / "new", decisions=[], diff=tmp_path / "diff.json")
    tree = Taxonomy.load(tmp_path / "new/taxonomy.json")
    assert "All bags" in tree.names[0].tolist()


def test_another_discovery_s_decisions_are_refused(run, tmp_path):
    workdir, _ = run
    path = decide(workdir, tmp_path / "d.json")
    document = json.loads(path.read_text()) | {"proposals": "0" * 64}
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="other proposals"):
        refine(workdir, tmp_path / "new", decisions=[path], diff=None)


def test_new_classes_are_scored_beside_a_hidden_column_and_old_ones_alone(
    run, shop, tmp_path
):
    """A run on the new tree: its answers in the old tree, and what new nodes hold."""
    workdir, _ = run
    refine(workdir, tmp_path / "new", decisions=[], diff=None)
    keys = {
        "task": "train",
        "data.path": str(tmp_path / "new/catalogue.parquet"),
        "data.columns.label": ("refined_label",),
        "data.columns.split": "refined_split",
        "data.columns.group": "refined_group",
        "data.split.by": "column",
        "taxonomy.path": str(tmp_path / "new/taxonomy.json"),
        "optim.learning_rate": 0.02,
        "train.steps": 60,
        "train.eval_every": 30,
    }
    changes = {k.replace(".", "__"): v for k, v in keys.items()}
    train_run(found_config(shop, **changes), tmp_path / "trained")
    text = score_new_classes(
        tmp_path / "trained",
        tmp_path / "new/old_taxonomy.json",
        shop / "shop.csv",
        "label",
        tmp_path / "scored",
    )
    assert "Shoes > Closed > boots" in text
    scores = json.loads((tmp_path / "scored/new_classes.json").read_text())["metrics"]
    assert scores["purity"] > 0.9
    found = read_predictions(tmp_path / "trained/predictions.parquet")
    old = in_tree(found, Taxonomy.load(tmp_path / "new/old_taxonomy.json"))
    codes = set(old.decoded[old.main].ravel().tolist())
    assert "Shoes > Closed" in codes
    assert "Shoes > Closed > boots" not in codes
    assert "Bags > Totes > Canvas" in codes
    cut = (old.truth != "").sum(axis=1) < (found.truth != "").sum(axis=1)
    assert cut.any()
    assert not old.complete[cut].any()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"recategorize__branch": "Shoos"}, "Did you mean 'Shoes'"),
        ({"recategorize__branch": ""}, "branch is empty"),
        ({"recategorize__keep": 0}, "nothing is hidden"),
        ({"recategorize__truth": 0, "recategorize__method": "parametric"}, "is told"),
        ({"recategorize__choice": "gap", "recategorize__resamples": 0}, "needs"),
        ({"recategorize__clusters": (3,), "recategorize__levels": 2}, "fewer numbers"),
        ({"recategorize__truth": 2}, "is not hidden by recategorize.keep=2"),
        ({"recategorize__truth": 7}, "has a label of this level"),
        ({"recategorize__choice": "silhouete"}, "Did you mean 'silhouette'"),
        ({"recategorize__min_size": 1}, "2 or more"),
        ({"recategorize__method": "k_means", "recategorize__levels": 2}, "one level"),
        ({"recategorize__vocabulary": "none.txt"}, "no file none.txt"),
        ({"data__features__title": ""}, "no vectors"),
        ({"recategorize__joint": "nowhere"}, "nowhere is no workdir"),
    ],
)
def test_mistakes_end_in_a_sentence(shop, tmp_path, changes, told):
    config = found_config(shop, **changes)
    assert told in sentence(config, tmp_path / "x")


def test_a_vocabulary_in_another_encoding_is_told(shop, tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("Shoes\nVêtements\n".encode("latin-1"))
    config = found_config(shop, recategorize__vocabulary=str(path))
    told = f"{path}, line 2: not UTF-8; save the file as UTF-8"
    assert told in sentence(config, tmp_path / "x")


@pytest.mark.parametrize(
    ("method", "least"),
    # SimGCD is made for more rows of more numbers
    [("k_means", 0.8), ("known_k_means", 0.8), ("parametric", 0.5)],
)
def test_baselines_of_discovery_are_scored_alike(shop, tmp_path, method, least):
    changes = {"recategorize__method": method, "recategorize__keep": 1}
    train_run(found_config(shop, **changes), tmp_path / "x")
    found = metrics_of(tmp_path / "x")
    assert found["clusters"] == 4
    assert found["hungarian_accuracy"] > least
    assert found["free/accuracy_new"] > least
