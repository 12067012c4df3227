"""Which products are divided, by which vectors, and what is said where they are not."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from runs import TEXT, run_config, sentence, train_run

from hsjax.data.features import text_key
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.records import Record
from hsjax.data.store import add_part, start_store
from hsjax.features.cluster_cascade import Node, undivided
from hsjax.features.cluster_count import Tried
from hsjax.features.cluster_methods import METHODS
from hsjax.inference.predict import Run
from hsjax.recategorize import products as discovery
from hsjax.recategorize import vocabulary
from hsjax.recategorize.products import (
    branch_vectors,
    joint_run,
    read_branch,
    titles_of,
    without_below,
)
from hsjax.recategorize.report import tried_markdown, why_undivided
from hsjax.recategorize.vocabulary import nearest_names
from hsjax.settings.discovery import check_recategorize
from hsjax.taxonomy import Taxonomy
from hsjax.train.workdir import ConfigError

SIZE, EACH = 6, 30
CLASSES = ("Closed > Boots", "Closed > Loafers", "Open > Sandals", "Open > Clogs")
BASE = {
    **TEXT,
    "task": "recategorize",
    "model.modalities": ("title", "brand"),
    "data.columns.text": ("title", "brand"),
    "data.columns.label": ("label",),
    "data.columns.label_kind": "path",
    "data.columns.id": "id",
    "recategorize.branch": "Shoes",
    "recategorize.keep": 2,
    "recategorize.truth": 3,
    "recategorize.levels": 1,
    "recategorize.method": "k_means",
    "recategorize.min_size": 10,
    "recategorize.components": 4,
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Closed shoes have titles and brands, open ones brands alone, sold ones nothing.

    Five bags beside them, of which nothing is to be found.
    """
    root = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    rows, held = [], {"title": {}, "brand": {}}
    for label in CLASSES:
        centre = 5 * rng.normal(size=SIZE)
        for i in range(EACH):
            title = f"{label[9:]} {i}" if "Closed" in label else ""
            brand = f"maker {label[-3:]} {i}"
            rows.append((f"p{len(rows)}", title, brand, f"Shoes > {label}"))
            for stream, text in (("title", title), ("brand", brand)):
                held[stream][text_key(text)] = centre + rng.normal(size=SIZE)
    rows += [(f"s{i}", "", "", "Shoes > Sold > Odd") for i in range(EACH)]
    rows += [(f"b{i}", f"bag {i}", f"b {i}", "Bags > Totes") for i in range(5)]
    for i in range(5):
        held["title"][text_key(f"bag {i}")] = np.zeros(SIZE)
        held["brand"][text_key(f"b {i}")] = np.zeros(SIZE)
    with (root / "shop.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "title", "brand", "label"), *rows])
    for stream, vectors in held.items():
        vectors.pop("", None)
        start_store(root / stream, {"shape": [SIZE]})
        values = np.array(list(vectors.values()), np.float32)
        add_part(root / stream, list(vectors), values)
    return root


def config_of(shop, **changes):
    places = {"data.path": str(shop / "shop.csv")}
    for stream in ("title", "brand"):
        places[f"data.features.{stream}"] = str(shop / stream)
    streams = {"title": ("title",), "brand": ("brand",)}
    return run_config({**BASE, "data.text.streams": streams, **places}, **changes)


def strict(path):
    """JSON as it is defined, which has no NaN."""

    def refuse(word):
        raise AssertionError(f"{path} has {word}")

    return json.loads(path.read_text(), parse_constant=refuse)


@pytest.fixture(scope="module")
def run(shop, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "a"
    return workdir, train_run(config_of(shop), workdir)


def test_a_node_without_vectors_is_left_as_it_is_and_told(run):
    workdir, printed = run
    reason = "too few products of its node have a vector"
    assert f"{EACH} products, not divided: {reason}" in printed
    with (workdir / "left_out.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert {r["node"] for r in listed} == {"Shoes > Sold"}
    assert len(listed) == EACH
    assert {r["reason"] for r in listed} == {reason}
    found = pq.read_table(workdir / "clusters.parquet").to_pydict()
    assert len(found["row"]) == 5 * EACH
    # open shoes have no title, and are divided by their brands
    of = {n: set() for n in found["node"]}
    for node, cluster in zip(found["node"], found["cluster"], strict=True):
        of[node].add(cluster)
    assert of == {
        "Shoes > Closed": {"1", "2"},
        "Shoes > Open": {"1", "2"},
        "Shoes > Sold": {""},
    }


def test_reports_are_json_that_anybody_reads(run):
    workdir, _ = run
    report = strict(workdir / "report.json")
    assert report["metrics"]["purity"] > 0.9
    assert report["context"]["hidden_classes"]["Shoes > Open > Clogs"] == EACH
    for path in workdir.glob("proposals_*.json"):
        for proposal in strict(path)["proposals"]:
            assert proposal["stability"] is None  # K-means measures none


def test_it_is_told_why_a_node_stays_whole():
    whole = undivided(9)
    assert "leaves two that are large enough" in why_undivided(whole, 0.5)
    tried = Tried(3, 2, 0.2, 0.1, 0.0, 0.31)
    best = whole._replace(chosen={"": tried}, tried={"": (tried,)})
    told = why_undivided(best, 0.5)
    assert "no number of groups is stable; 3, the best" in told
    assert "stability of 0.31, below min_stability 0.5" in told
    assert "3 (the best)" in tried_markdown(best)
    one = whole._replace(chosen={"": tried._replace(count=1)})
    assert why_undivided(one, 0.5) == "one group is the best"


def test_methods_without_a_map_draw_none(run):
    workdir, _ = run
    assert not (workdir / "map.png").exists()
    page = next(workdir.glob("review_*.html")).read_text()
    data = json.loads(page.split('type="application/json">')[1].split("</script>")[0])
    assert data["map"]["total"] == 0
    assert {c["true_label"] for c in data["clusters"]} <= {
        label.split(" > ")[1] for label in CLASSES
    }
    for cluster in data["clusters"]:
        assert cluster["purity"] > 0.9
        assert 0.5 <= cluster["purity_chance"] < 0.7


def test_every_method_is_scored_on_the_same_products(run, shop, tmp_path):
    workdir, _ = run
    reports = {"k_means": strict(workdir / "report.json")["metrics"]}
    for method in ("known_k_means", "labels"):
        config = config_of(shop, recategorize__method=method)
        train_run(config, tmp_path / method)
        reports[method] = strict(tmp_path / method / "report.json")["metrics"]
    assert {r["rows"] for r in reports.values()} == {5 * EACH}
    # half of the classes are told, by half of their products
    (free,) = {r["free/rows"] for r in reports.values()}
    assert 5 * EACH * 0.65 < free < 5 * EACH * 0.85
    for form in ("", "free/", "kept/"):
        assert f"{form}nmi" in reports["labels"]
    alone = reports["labels"]
    assert alone["nmi"] == alone["nodes/nmi"] == reports["k_means"]["nodes/nmi"]
    assert alone["clusters"] == 3
    assert alone["kept/purity"] is None
    assert alone["kept/coverage"] == 0
    # what nodes give away, chance knows too
    assert alone["nmi_chance"] == pytest.approx(alone["nmi"])
    found = reports["k_means"]
    assert found["nmi_chance"] > 0.5
    assert found["nmi"] > found["nmi_chance"] + 0.2
    assert not [*(tmp_path / "labels").glob("review_*")]


def test_baselines_know_the_number_of_classes_that_are_large_enough(shop):
    """A class of two products would cost them a cluster."""
    rng = np.random.default_rng(0)
    truth = np.array(["a"] * 30 + ["b"] * 30 + ["c"] * 2)
    x = rng.normal(size=(62, 4)).astype(np.float32)
    x += 9 * (truth == "b")[:, None]
    nobody = np.full(62, "", truth.dtype)

    def count(method, told=nobody):
        config = config_of(shop, recategorize__method=method)
        return len(METHODS[method](lambda rows: x[rows], truth, told, config).nodes)

    assert count("k_means") == 2
    told = np.where(np.arange(62) % 2, truth, "")
    assert count("known_k_means", told) == 3, "it is told of the third"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data__features__brand": ""}, "no vectors of brand: name its feature store"),
        ({"data__leave_out": ("Bags",)}, "mean nothing to task=recategorize"),
        ({"data__train_share": 0.5}, "mean nothing to task=recategorize"),
        ({"recategorize__branch": "Shoes > Sold"}, "has any of title, brand"),
        (
            {"recategorize__branch": "Shoes > Open", "recategorize__keep": 1,
             "recategorize__truth": 2},
            "is not hidden: 'Shoes > Open' is a node of level 2",
        ),
        ({"taxonomy__min_products": 1000, "recategorize__branch": "Shoes > Open"},
         "the tree has no 'Shoes > Open'"),
    ],
)  # fmt: skip
def test_mistakes_end_in_a_sentence(shop, tmp_path, changes, told):
    assert told in sentence(config_of(shop, **changes), tmp_path / "x")


def test_labels_end_where_the_tree_does(shop, tmp_path):
    """Nodes of too few training products are no nodes: theirs are those above."""
    text = (shop / "shop.csv").read_text().splitlines()
    few = [line for line in text if ",Shoes > Open" not in line] + [
        line for line in text if line.endswith("Shoes > Open > Clogs")
    ][:12]
    (tmp_path / "shop.csv").write_text("\n".join(few) + "\n")
    config = config_of(
        shop,
        data__path=str(tmp_path / "shop.csv"),
        taxonomy__min_products=15,
        recategorize__truth=0,
        recategorize__clusters=(2,),
    )
    branch = read_branch(config, Quarantine())
    assert {code: len(rows) for (_, code), rows in branch.nodes.items()} == {
        "Shoes": 12,
        "Shoes > Closed": 2 * EACH,
        "Shoes > Sold": EACH,
    }
    train_run(config, tmp_path / "x")
    assert strict(tmp_path / "x" / "diff.json")["operations"]


def test_a_tree_of_a_file_shows_nothing_that_is_hidden(shop, tmp_path):
    paths = [f"Shoes > {label}".split(" > ") for label in CLASSES]
    paths += [["Shoes", "Sold", "Odd"], ["Bags", "Totes", "Silk"]]
    paths = [[" > ".join(p[: i + 1]) for i in range(len(p))] for p in paths]
    tree = Taxonomy.from_paths(paths, separator=" > ", edition="E1", stop="all")
    tree.save(tmp_path / "tree.json")
    config = config_of(shop, taxonomy__path=str(tmp_path / "tree.json"))
    found = read_branch(config, Quarantine()).tree
    assert found.codes[1].tolist()[:2] == tree.codes[1].tolist()[:2]
    assert set(found.codes[2].tolist()) == {
        "Bags > Totes > Silk",
        "Bags > Totes > STOP",
    }
    assert found.edition == "E1"
    top = without_below(tree, (0, "Shoes"), 1)
    assert top.codes[1].tolist() == ["Bags > STOP", "Bags > Totes"]
    for row, path in zip(top.ancestors[2], top.codes[2], strict=True):
        assert str(path).startswith(top.decode(row)[-1])
    one = Taxonomy.from_paths(paths[:2], separator=" > ")
    assert without_below(one, (0, "Shoes"), 2).num_levels == 2


@pytest.mark.parametrize(
    ("objective", "told"),
    [
        ({"classification": 1.0}, True),
        ({"classification": 0.0}, False),
        ({"classification": 0.0, "contrastive_kind": "supervised"}, True),
        ({"classification": 0.0, "negatives": "branch"}, True),
    ],
)
def test_a_common_space_that_learnt_what_is_hidden_is_doubtful(
    shop, monkeypatch, objective, told
):
    config = config_of(shop, recategorize__joint="runs/joint")
    tree = read_branch(config, Quarantine()).tree
    paths = [("Shoes", "Shoes > Closed", f"Shoes > Closed > {x}") for x in "ab"]
    base = {"contrastive": 1.0, "contrastive_kind": "info_nce", "negatives": "all"}
    learnt = Taxonomy.from_paths(paths, separator=" > ")
    run = Run(*[None] * len(Run._fields))._replace(
        tree=learnt,
        config=SimpleNamespace(objective=SimpleNamespace(**base | objective)),
    )
    monkeypatch.setattr(discovery, "load_run", lambda path: run)
    doubt = joint_run(config, tree)[1]
    assert ("knows 2 nodes that are hidden here" in doubt) == told
    monkeypatch.setattr(
        discovery, "load_run", lambda path: run._replace(tree=learnt.top(2))
    )
    assert joint_run(config, tree)[1] == ""


class Aligned(Run):
    """A run that only embeds."""

    def predict(self, records, *, progress=""):
        return SimpleNamespace(embeddings=self.params)


def test_a_common_space_stands_beside_the_stores_or_alone(shop):
    config = config_of(
        shop,
        model__modalities=("title", "brand"),
        data__features__brand="",
        recategorize__joint="runs/joint",
    )
    check_recategorize(config)  # brands are in the common space
    records = read_branch(config_of(shop), Quarantine()).records[: 2 * EACH]
    empty = Aligned(*[None] * len(Run._fields))
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(len(records), 5))
    texts[3] = 0
    run = empty._replace(params={"text": texts, "image": np.ones((len(records), 5))})
    mixed = branch_vectors(config, records, run)
    assert [*mixed.reductions] == ["title", "joint"]
    np.testing.assert_array_equal(mixed.arrays["joint"], texts)
    assert mixed(np.arange(4)).shape == (4, 8)
    with pytest.raises(ConfigError, match="was not aligned"):
        branch_vectors(config, records, empty._replace(params={}))


def test_products_without_a_text_stream_have_blank_titles(shop):
    records = read_branch(config_of(shop), Quarantine()).records
    config = run_config({**BASE, "data.text.streams": {}})
    assert set(titles_of(config, records)) == {""}


def test_names_of_a_list_are_read_by_the_store_of_their_texts(
    shop, tmp_path, monkeypatch
):
    """Brands have the store here, and titles, the first stream, have none."""
    path = tmp_path / "names.txt"
    path.write_text("# a list\nThings > maker a\nmaker b\nThings|maker c\n")
    config = config_of(
        shop,
        recategorize__vocabulary=str(path),
        data__features__title="",
        data__columns__separator="|",
    )
    asked = []

    def embed(folder, names, *, max_pixels):
        asked.append((folder, names))
        return np.eye(3, SIZE, dtype=np.float32)

    monkeypatch.setattr(vocabulary, "embed", embed)
    records = read_branch(
        config_of(shop, data__features__title=""), Quarantine()
    ).records
    records = [r for r in records if r.texts["brand"].startswith("maker")][:4]
    assert isinstance(records[0], Record)
    keys = np.full(4, "1", dtype="<U40")
    cascade = undivided(4)._replace(keys=keys, nodes=(Node("1", "", 0.0, 0.0),))
    found = nearest_names(config, records, cascade)
    assert asked == [(str(shop / "brand"), ["maker a", "maker b", "maker c"])]
    assert sorted(found["1"]) == ["maker a", "maker b", "maker c"]
    path.write_text("# nothing\n")
    with pytest.raises(CatalogueError, match="has no name"):
        nearest_names(config, records, cascade)
