"""What was proposed becomes a tree, and labels that a run reads back; and again."""

import ast
import csv
import json
import shlex

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from runs import TEXT, run_config, sentence, train_run

from hsjax.data.features import text_key
from hsjax.data.prepare import read_catalogue
from hsjax.data.quarantine import CatalogueError
from hsjax.data.store import add_part, start_store
from hsjax.recategorize.refinement import refine
from hsjax.taxonomy import Taxonomy
from hsjax.train.config import WorkdirError
from hsjax.tree.codes import TaxonomyError

SIZE, EACH = 6, 24
# label -> words of its titles, each with vectors of its own
CLASSES = {
    "Shoes > Closed": ("boots", "loafers"),
    "Shoes > Open > Sandals": ("sandals",),
    "Shoes > Open > Clogs": ("clogs",),
    "Bags > Totes": ("tote",),
    "Bags > Clutches": ("clutch",),
}
SETTINGS = {
    **TEXT,
    "task": "recategorize",
    "data.columns.text": ("title",),
    "data.columns.label": ("label",),
    "data.columns.label_kind": "path",
    "recategorize.branch": "Shoes > Closed",
    "recategorize.method": "k_means",
    "recategorize.clusters": (2,),
    "recategorize.levels": 1,
    "recategorize.min_size": 4,
}
BOOTS, LOAFERS = "Shoes > Closed > boots", "Shoes > Closed > loafers"


def products(classes=CLASSES, each=EACH):
    """Rows of (id, title, label); titles of one word have vectors that are near."""
    rows = []
    for label, words in classes.items():
        for i in range(each * len(words)):
            word = words[i % len(words)]
            rows.append((f"p{len(rows)}", f"{word} number{len(rows)}", label))
    return rows


def write_shop(folder, rows=None, header=("id", "title", "label")):
    """shop.csv, and a store of its titles."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = products() if rows is None else rows
    with (folder / "shop.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    titles = [row[header.index("title")] for row in rows]
    words = sorted({title.split()[0] for title in titles})
    rng = np.random.default_rng(0)
    centres = dict(zip(words, 9 * rng.normal(size=(len(words), SIZE)), strict=True))
    vectors = [centres[title.split()[0]] + rng.normal(size=SIZE) for title in titles]
    start_store(folder / "title", {"shape": [SIZE]})
    keys = [text_key(title) for title in titles]
    add_part(folder / "title", keys, np.array(vectors, np.float32))
    return folder


def config_of(folder, changes=(), /, **more):
    places = {"data.path": str(folder / "shop.csv"), "data.columns.id": "id"}
    places["data.features.title"] = str(folder / "title")
    return run_config({**SETTINGS, **places, **dict(changes)}, **more)


def discover(folder, workdir, changes=(), /, **more):
    train_run(config_of(folder, changes, **more), workdir)
    return workdir


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return write_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def run(shop, tmp_path_factory):
    return discover(shop, tmp_path_factory.mktemp("run") / "found")


def refined(run, output, *, decisions=(), diff=None):
    return refine(run, output, decisions=decisions, diff=diff)


def flags(text):
    """{key: value} of flags as a shell takes them from what was printed."""
    words = shlex.split(text.replace("\\\n", " "))
    pairs = (w.removeprefix("--config.").split("=", 1) for w in words if "=" in w)
    known = {k: ast.literal_eval(v) if v.startswith("(") else v for k, v in pairs}
    return {k: v for k, v in known.items() if k != "init_from"}


def told_flags(told):
    """What is printed for a run on the new tree, and what else for the old one."""
    new, old = told.split("and starts from")
    new = flags(new[new.index("--config.") :])
    return new, new | flags(old[old.index("\n") :])


def read_as_told(folder, told, old=False, changes=()):
    keys = told_flags(told)[old]
    catalogue = read_catalogue(config_of(folder, changes, **_plain(keys)))
    return catalogue, {r.id: r.path for r in catalogue.records}


def _plain(keys):
    return {key.replace(".", "__"): value for key, value in keys.items()}


def labels(output, column="refined_label"):
    table = pq.read_table(output / "catalogue.parquet").to_pydict()
    words = [title.split()[0] for title in table["title"]]
    found = {}
    for word, label in zip(words, table[column], strict=True):
        found.setdefault(word, set()).add(label)
    return found


def edited(run, path, change):
    """The run's diff as somebody has edited it."""
    document = json.loads((run / "diff.json").read_text())
    change(document)
    path.write_text(json.dumps(document))
    return path


def operation(kind, code, **more):
    return {"kind": kind, "level": code.count(" > ") + 1, "code": code, **more}


def test_what_is_printed_reads_the_new_and_the_old_labels(shop, run, tmp_path):
    output = tmp_path / "new folder"
    told = refined(run, output)
    assert labels(output)["boots"] == {BOOTS}
    assert labels(output, "old_label")["boots"] == {"Shoes > Closed"}
    assert "48 products go to a new node, 0 of the nodes" in told
    assert told_flags(told)[0]["task"] == "train"
    catalogue, paths = read_as_told(shop, told)
    assert not catalogue.outside.any()
    assert paths["p0"] == ("Shoes", "Shoes > Closed", BOOTS)
    old, paths = read_as_told(shop, told, old=True)
    assert not old.outside.any()
    assert paths["p0"] == ("Shoes", "Shoes > Closed")
    assert (old.parts == catalogue.parts).all()
    assert old.tree == Taxonomy.load(run / "taxonomy.json")


def test_a_refined_catalogue_is_refined_again(shop, run, tmp_path):
    """Twice below the same node, and once below a new one."""
    told = refined(run, tmp_path / "a")
    keys = told_flags(told)[0] | {"task": "recategorize"}
    again = discover(shop, tmp_path / "again", keys, recategorize__branch=BOOTS)
    told = refined(again, tmp_path / "b")
    found = labels(tmp_path / "b", "refined2_label")["boots"]
    assert len(found) == 2
    assert all(label.startswith(f"{BOOTS} > ") for label in found)
    assert labels(tmp_path / "b", "refined_label")["boots"] == {BOOTS}
    assert labels(tmp_path / "b", "old2_label")["boots"] == {BOOTS}
    catalogue, paths = read_as_told(shop, told, changes=keys)
    assert not catalogue.outside.any()
    assert catalogue.tree.num_levels == 4
    assert len(paths["p0"]) == 4
    first = read_as_told(shop, refined(run, tmp_path / "c"))[0]
    assert (first.parts == catalogue.parts).all()


def test_codes_are_refined_and_refined_again(tmp_path):
    classes = {
        "6403": ("boots", "loafers", "clogs", "mules"),
        "640411": ("sneakers",),
        "640419": ("slippers",),
        "6911": ("cups",),
    }
    shop = write_shop(tmp_path / "shop", products(classes))
    codes = {"data.columns.label_kind": "code", "recategorize.branch": "6403"}
    run = discover(shop, tmp_path / "run", codes)
    told = refined(run, tmp_path / "a")
    catalogue, paths = read_as_told(shop, told, changes=codes)
    assert not catalogue.outside.any()
    assert paths["p0"][:2] == ("64", "6403")
    assert paths["p0"][2] in ("6403.n1", "6403.n2")
    # what a reviewer has taken out stays at the node, and is divided again
    diff = edited(run, tmp_path / "d.json", lambda d: d["clusters"].pop("6403|2"))
    told = refined(run, tmp_path / "b", diff=diff)
    keys = codes | told_flags(told)[0] | {"task": "recategorize"}
    again = discover(shop, tmp_path / "again", keys)
    told = refined(again, tmp_path / "c")
    tree = Taxonomy.load(tmp_path / "c/taxonomy.json")
    assert {"6403.n1", "6403.n2", "6403.n3", "6403.n4"} <= set(tree.codes[2].tolist())
    catalogue, _ = read_as_told(shop, told, changes=keys)
    assert not catalogue.outside.any()


@pytest.mark.parametrize("kind", ["label_map", "levels", "separator", "no id"])
def test_however_labels_were_read_before(tmp_path, kind):
    header, rows, changes = ("id", "title", "label"), products(), {}
    if kind == "label_map":
        names = {label: f"native {i}" for i, label in enumerate(CLASSES)}
        rows = [(id, title, names[label]) for id, title, label in rows]
        changes["data.label_map"] = str(tmp_path / "map.csv")
        with (tmp_path / "map.csv").open("w", newline="") as file:
            pairs = [(native, label) for label, native in names.items()]
            csv.writer(file).writerows([("native", "label"), *pairs])
    elif kind == "levels":
        header = ("id", "title", "level1", "level2", "level3")
        rows = [(*r[:2], *(r[2].split(" > ") + [""])[:3]) for r in rows]
        changes["data.columns.label"] = header[2:]
        changes["data.columns.label_kind"] = "levels"
    elif kind == "separator":
        changes["data.columns.separator"] = " / "
        changes["recategorize.branch"] = "Shoes / Closed"
        rows = [(*r[:2], r[2].replace(">", "/")) for r in rows]
    elif kind == "no id":
        changes["data.columns.id"] = ""
    shop = write_shop(tmp_path / "shop", rows, header)
    if kind == "no id":
        table = pa.table({h: [r[i] for r in rows] for i, h in enumerate(header)})
        pq.write_table(table, shop / "shop.parquet")
        changes["data.path"] = str(shop / "shop.parquet")
    told = refined(discover(shop, tmp_path / "run", changes), tmp_path / "new")
    catalogue, paths = read_as_told(shop, told, changes=changes)
    assert not catalogue.outside.any()
    assert len(catalogue.records) == len(rows)
    ends = {path[-1].split(" ")[-1] for path in paths.values()}
    assert ends == {"boots", "loafers", "Sandals", "Clogs", "Totes", "Clutches"}


def test_labels_of_another_edition_are_read_once(tmp_path):
    """What the tables say is in the new labels; a set ends where its classes part."""
    rows = [(*row, "") for row in products()]
    rows += [(f"o{i}", f"tote old{i}", "Bags > Sacks", "2020") for i in range(6)]
    rows += [(f"s{i}", f"clogs old{i}", "Shoes > Summer", "2020") for i in range(6)]
    shop = write_shop(tmp_path / "shop", rows, ("id", "title", "label", "edition"))
    (tmp_path / "tree.txt").write_text("\n".join(CLASSES))
    with (tmp_path / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ("from_edition", "from_code", "to_edition", "to_code", "weight", "source")
        )
        for old, new in (
            ("Bags > Sacks", "Bags > Totes"),
            ("Shoes > Summer", "Shoes > Open > Sandals"),
            ("Shoes > Summer", "Shoes > Closed"),
        ):
            writer.writerow(("2020", old, "2025", new, "", "x"))
    changes = {
        "data.columns.edition": "edition",
        "taxonomy.path": str(tmp_path / "tree.txt"),
        "taxonomy.edition": "2025",
        "taxonomy.correlation": (str(tmp_path / "table.csv"),),
    }
    told = refined(discover(shop, tmp_path / "run", changes), tmp_path / "new")
    assert "6 labels of another edition stand for several classes" in told
    catalogue, paths = read_as_told(shop, told, changes=changes)
    assert not catalogue.outside.any()
    assert paths["o0"] == ("Bags", "Bags > Totes")
    assert paths["s0"] == ("Shoes",)
    assert catalogue.tree.edition == "2025"


def test_new_nodes_that_an_edited_diff_merges(shop, run, tmp_path):
    def change(document):
        both = [BOOTS, LOAFERS]
        merge = operation("merge", BOOTS, codes=both, name="Leather shoes")
        document["operations"].append(merge)

    told = refined(run, tmp_path / "new", diff=edited(run, tmp_path / "d.json", change))
    found = labels(tmp_path / "new")
    assert found["boots"] == found["loafers"] == {BOOTS}
    assert not read_as_told(shop, told)[0].outside.any()


def test_inner_nodes_that_an_edited_diff_merges(shop, run, tmp_path):
    def change(document):
        codes = ["Shoes > Open", "Shoes > Closed"]
        document["operations"].append(operation("merge", codes[0], codes=codes))

    told = refined(run, tmp_path / "new", diff=edited(run, tmp_path / "d.json", change))
    catalogue, paths = read_as_told(shop, told)
    assert not catalogue.outside.any()
    assert paths["p0"] == ("Shoes", "Shoes > Open", "Shoes > Open > boots")
    found = labels(tmp_path / "new")
    assert found["clogs"] == {"Shoes > Open > Clogs"}
    assert "Shoes > Closed" not in catalogue.tree.codes[1].tolist()


def test_clusters_that_were_taken_out_of_a_diff(run, tmp_path):
    name = next(
        k for k, code in json.loads((run / "diff.json").read_text())["clusters"].items()
        if code == LOAFERS
    )  # fmt: skip
    diff = edited(run, tmp_path / "d.json", lambda d: d["clusters"].pop(name))
    told = refined(run, tmp_path / "new", diff=diff)
    found = labels(tmp_path / "new")
    assert (found["boots"], found["loafers"]) == ({BOOTS}, {"Shoes > Closed"})
    assert "24 products go to a new node, 24 of the nodes" in told


def test_parts_without_a_node_are_what_they_are_parts_of():
    from hsjax.recategorize.diff import Diff
    from hsjax.recategorize.refined_labels import _nodes_of_clusters

    tree = Taxonomy.from_paths([("A", "A > x"), ("A", "A > y")], separator=" > ")
    clusters = {1: ("A", "1"), 2: ("A", "1.2"), 3: ("A", "2"), 4: ("A", "")}
    diff = Diff("", (), clusters={"A|1": "A > x"})
    found = _nodes_of_clusters(diff, clusters, tree, tree)
    assert found == {("A", "1"): "A > x", ("A", "1.2"): "A > x"}


FLAWS = {
    "a path": (
        lambda d: d["operations"][0]["into"][0].update(code="Shoes > Closed > a>b"),
        "is no path one below 'Shoes > Closed'",
    ),
    "an own code": (
        lambda d: d["operations"][0]["into"][0].update(code="N1"),
        "operation 1 (split): the code 'N1' is no path",
    ),
    "a lost node": (
        lambda d: d["operations"].clear(),
        "', which is no node of the new tree: name another, or take the line out",
    ),
    "a lost cluster": (
        lambda d: d["clusters"].update({"Shoes > Closed|7": BOOTS}),
        "there was no cluster 'Shoes > Closed|7'. Did you mean",
    ),
    "another tree": (lambda d: d.update(base="0" * 64), "was made for the tree 0000"),
    "a null": (lambda d: d["clusters"].update({"Shoes > Closed|1": None}), "a node"),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_flawed_diff_is_refused_before_anything_is_written(run, tmp_path, flaw):
    change, told = FLAWS[flaw]
    with pytest.raises(TaxonomyError) as error:
        refined(run, tmp_path / "new", diff=edited(run, tmp_path / "d.json", change))
    assert told in str(error.value)
    assert not (tmp_path / "new").exists()


def test_a_class_whose_name_holds_the_mark_of_a_path(tmp_path):
    header = ("id", "title", "level1", "level2", "level3")
    rows = [(*r[:2], *(r[2].split(" > ") + [""])[:3]) for r in products()]
    rows = [tuple("Totes>Bags" if x == "Totes" else x for x in row) for row in rows]
    shop = write_shop(tmp_path / "shop", rows, header)
    changes = {"data.columns.label": header[2:], "data.columns.label_kind": "levels"}
    run = discover(shop, tmp_path / "run", changes)
    with pytest.raises(TaxonomyError, match="'Bags > Totes>Bags' is of level 2"):
        refined(run, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    changes["data.columns.separator"] = " | "
    changes["recategorize.branch"] = "Shoes | Closed"
    told = refined(discover(shop, tmp_path / "b", changes), tmp_path / "new")
    catalogue, _ = read_as_told(shop, told, changes=changes)
    assert not catalogue.outside.any()


# ---- the catalogue is the one that was discovered in


def decide(run, path, **changes):
    (found,) = run.glob("proposals_*.json")
    document = json.loads(found.read_text())
    decisions = [
        {"key": p["key"], "action": "accept", "name": p["name"], "into": "", "note": ""}
        for p in document["proposals"]
    ]
    content = {"proposals": document["digest"], "decisions": decisions} | changes
    path.write_text(json.dumps(content), encoding="utf-8-sig")
    return path


def test_decisions_with_a_mark_before_them_are_read(run, tmp_path):
    path = decide(run, tmp_path / "decisions.json")
    refined(run, tmp_path / "new", decisions=[path])
    assert labels(tmp_path / "new")["boots"] == {BOOTS}


@pytest.mark.parametrize(
    ("give", "told"),
    [
        (lambda run, path: [path.parent], "cannot be read: Is a directory"),
        (lambda run, path: [path], "cannot be read: No such file"),
        (lambda run, path: [decide(run, path)] * 2, "are both about 'Shoes > Closed'"),
        (lambda run, path: [decide(run, path, proposals=None)], "other proposals"),
        (lambda run, path: [decide(run, path, decisions={})], "no list of decisions"),
    ],
)
def test_files_that_are_no_decisions(run, tmp_path, give, told):
    with pytest.raises(TaxonomyError) as error:
        refined(run, tmp_path / "new", decisions=give(run, tmp_path / "d.json"))
    assert told in str(error.value)
    assert not (tmp_path / "new").exists()


@pytest.fixture
def own(tmp_path):
    """A shop and a discovery that a test may spoil."""
    shop = write_shop(tmp_path / "shop")
    return shop, discover(shop, tmp_path / "run"), tmp_path / "new"


def rewrite(shop, change):
    """The rows of shop.csv changed, but for their number."""
    with (shop / "shop.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    with (shop / "shop.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *change(rows)])


def forget_files(run):
    """As an older version wrote the config, without digests."""
    document = json.loads((run / "config.json").read_text())
    del document["files"]
    (run / "config.json").write_text(json.dumps(document))


def test_a_catalogue_that_has_changed_is_refused(own):
    shop, run, output = own
    rewrite(shop, lambda rows: rows[::-1])
    with pytest.raises(WorkdirError, match="data.path: no longer the file that"):
        refined(run, output)
    forget_files(run)
    with pytest.raises(WorkdirError, match="row 1 of the catalogue was 'p0' in"):
        refined(run, output)
    rewrite(shop, lambda rows: rows[::-1])
    rewrite(shop, lambda rows: [(*row[:2], "Shoes > Clogs") for row in rows])
    with pytest.raises((WorkdirError, CatalogueError)):
        refined(run, output)
    (shop / "shop.csv").unlink()
    with pytest.raises(WorkdirError, match="shop.csv, which is not there"):
        refined(run, output)
    assert not output.exists()


def test_clusters_of_rows_that_are_gone_are_refused(own):
    shop, run, output = own
    table = pq.read_table(run / "clusters.parquet").to_pydict()
    table["row"] = [row + 1000 for row in table["row"]]
    pq.write_table(pa.table(table), run / "clusters.parquet")
    with pytest.raises(WorkdirError, match="was 'p0' in 'Shoes > Closed', and is gone"):
        refined(run, output)
    Taxonomy.from_paths([("A",)]).save(run / "taxonomy.json")
    with pytest.raises(WorkdirError, match="another tree than then"):
        refined(run, output)


def test_nothing_is_written_over(run, tmp_path):
    refined(run, tmp_path / "new")
    before = (tmp_path / "new/taxonomy.json").read_bytes()
    with pytest.raises(WorkdirError, match="holds a catalogue already"):
        refined(run, tmp_path / "new")
    assert (tmp_path / "new/taxonomy.json").read_bytes() == before
    with pytest.raises(WorkdirError, match="is the workdir of a run"):
        refined(run, run)
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkdirError, match="is a file; name a folder"):
        refined(run, tmp_path / "file")


# ---- nodes that the training rows do not have


def test_products_of_nodes_that_are_too_rare_are_divided_above(tmp_path):
    rows = products() + [("r1", "boots rare", "Shoes > Closed > Rare")] * 1
    shop = write_shop(tmp_path / "shop", rows)
    rare = {"taxonomy.min_products": 5}
    run = discover(shop, tmp_path / "run", rare)
    told = refined(run, tmp_path / "new")
    assert labels(tmp_path / "new")["boots"] == {BOOTS}
    catalogue, paths = read_as_told(shop, told, changes=rare)
    assert paths["r1"][-1] == BOOTS
    assert not catalogue.outside.any()
    config = config_of(shop, rare, recategorize__branch="Shoes > Closed > Rare")
    assert "the tree has no 'Shoes > Closed > Rare'" in sentence(config, tmp_path / "x")


def test_rare_codes_are_read_as_what_is_left_of_them(tmp_path):
    classes = {"6403": ("boots", "loafers"), "640411": ("sneakers",), "69": ("cups",)}
    rows = [*products(classes), ("r1", "sneakers rare", "640419")]
    shop = write_shop(tmp_path / "shop", rows)
    codes = {"data.columns.label_kind": "code", "recategorize.branch": "6403"}
    codes["taxonomy.min_products"] = 5
    told = refined(discover(shop, tmp_path / "run", codes), tmp_path / "new")
    for old in (False, True):
        _, paths = read_as_told(shop, told, old=old, changes=codes)
        assert paths["r1"] == ("64", "6404")
