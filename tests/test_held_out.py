"""Training rows and whole classes that are held out, and how both are scored."""

import csv
import hashlib
import json
from collections import Counter

import numpy as np
import pytest
from runs import TEXT, report, run_config, sentence, train_run
from test_metrics import make_predictions

from hsjax.data.features import content_keys
from hsjax.data.hardening import read_split
from hsjax.data.held_out import first_share
from hsjax.data.prepare import read_catalogue
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.splits import PARTS
from hsjax.evaluation.metrics import score
from hsjax.evaluation.tables import report_markdown
from hsjax.tasks.extraction import _training_keys
from hsjax.train.kept import read_train_counts
from hsjax.train.workdir import WorkdirError
from hsjax.trained.scoring import evaluate_run

CODES = {
    **TEXT,
    "data.columns.text": ("title",),
    "data.columns.label": ("label",),
    "data.columns.group": "group",
    "eval.bootstrap": 50,
}
OUT = "out"
WORDS = {"640610": "heel", "640620": "sole", "640391": "boot", "610910": "shirt"}
WORDS |= {"420211": "trunk", "420212": "case"}
ROWS = {"640610": 120, "640620": 60, "640391": 30, "610910": 60, "420211": 40}
ROWS |= {"420212": 9}


def write_rows(path, rows, header=("title", "label", "group")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def goods():
    """Two rows a product; every title has its class's word and its product's own."""
    rows = []
    for code, count in ROWS.items():
        for n in range(count):
            product = f"{code}-{n // 2}"
            rows.append((f"{WORDS[code]} item{code}x{n // 2:03d}", code, product))
    return rows


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("shop") / "goods.csv", goods())


def read(shop, **changes):
    return read_catalogue(run_config(CODES, data__path=str(shop), **changes))


def rows_of(catalogue, part):
    return set(catalogue.rows(part).tolist())


def ends(catalogue, part):
    return {catalogue.records[i].path[-1] for i in catalogue.rows(part)}


SHARES = (0.01, 0.1, 0.3, 0.7, 1.0)


def test_a_smaller_share_is_a_part_of_a_larger_one_and_of_each_leaf(shop):
    found = {share: read(shop, data__train_share=share) for share in SHARES}
    whole = found[1.0]
    trained = [rows_of(found[share], "train") for share in SHARES]
    for smaller, larger in zip(trained, trained[1:], strict=False):
        assert smaller < larger
    for share, catalogue in found.items():
        for part in ("val", "test"):
            assert rows_of(catalogue, part) == rows_of(whole, part)
        assert ends(catalogue, "train") == set(ROWS)
        assert catalogue.tree == whole.tree
        left = rows_of(whole, "train") - rows_of(catalogue, "train")
        assert rows_of(catalogue, OUT) == left
        cut = set(catalogue.groups[[*left]].tolist()) if left else set()
        kept = catalogue.groups[catalogue.rows("train")].tolist()
        assert not cut & set(kept), "no product is divided"
        for code in ROWS:
            of = [whole.records[i].path[-1] == code for i in whole.rows("train")]
            own = [r for r in kept_records(catalogue) if r.path[-1] == code]
            assert abs(len(own) - max(share * sum(of), 2)) <= 1.0 + 1e-9


def kept_records(catalogue):
    return [catalogue.records[i] for i in catalogue.rows("train")]


def test_a_few_shots_of_each_leaf_are_the_first_of_more(shop):
    """Groups of two rows: whole ones up to the number, one at least."""
    whole, before = read(shop), set()
    for shots in (1, 4, 20, 200):
        found = read(shop, data__shots=shots)
        rows = rows_of(found, "train")
        assert before <= rows <= rows_of(whole, "train")
        before = rows
        counts = Counter(found.records[i].path[-1] for i in rows)
        assert counts.keys() == ends(whole, "train")
        assert max(counts.values()) <= max(2, shots)
        few = Counter(found.records[i].path[-1] for i in rows_of(found, "val"))
        assert rows_of(found, "val") <= rows_of(whole, "val")
        assert few.keys() == ends(whole, "val")
        assert max(few.values()) <= max(2, shots)
        assert rows_of(found, "test") == rows_of(whole, "test")
        assert found.tree == whole.tree
    assert before == rows_of(whole, "train")
    assert rows_of(found, "val") == rows_of(whole, "val")
    counts = read(shop, data__shots=4).facts()
    assert counts["rows left out of training (shots)"] > 100
    assert counts["rows left out of validation (shots)"] > 10


def test_neither_the_order_of_rows_nor_other_leaves_change_a_share(shop, tmp_path):
    plain = {r.texts["title"] for r in kept_records(read(shop, data__train_share=0.2))}
    order = np.random.default_rng(0).permutation(len(goods()))
    more = [(f"hat item{n}", "650500", f"h{n}") for n in range(30)]
    rows = [goods()[i] for i in order] + more
    other = read(write_rows(tmp_path / "s.csv", rows), data__train_share=0.2)
    found = {r.texts["title"] for r in kept_records(other)}
    assert {title for title in found if not title.startswith("hat")} == plain
    another = read(shop, data__train_share=0.2, data__split__seed=1)
    assert {r.texts["title"] for r in kept_records(another)} != plain


def test_a_group_counts_for_its_majority_leaf_with_its_rows(shop):
    """By a plain loop over one leaf of groups of unequal size."""
    records = read(shop).records[:40]
    sizes = [1, 2, 3, 4, 5, 6, 7, 12]
    groups = np.repeat(np.arange(len(sizes)), sizes)
    named = [
        type(r)(**{x: getattr(r, x) for x in r.__slots__} | {"group": f"g{g}"})
        for r, g in zip(records, groups, strict=True)
    ]
    keys = [f"3\0=g{g}".encode() for g in range(len(sizes))]
    order = sorted(range(len(sizes)), key=lambda g: hashlib.sha256(keys[g]).digest())
    rows = np.ones(40, bool)
    for share in (0.01, 0.25, 0.5, 0.9):
        kept = first_share(named, groups, rows, share=share, seed=3)
        expected, before = set(), 0
        for g in order:
            if not expected or before + sizes[g] / 2 <= share * 40:
                expected.add(g)
            before += sizes[g]
        assert set(groups[kept].tolist()) == expected
        assert kept.sum() == sum(sizes[g] for g in expected)


def test_what_is_left_out_is_counted_and_nothing_learns_from_it(shop):
    whole, part = read(shop), read(shop, data__train_share=0.1)
    facts, all_rows = part.facts(), len(goods())
    left = facts["rows left out of training (train_share)"]
    assert left == len(part.rows(OUT)) > 100
    counted = sum(facts[f"{name} rows"] for name in PARTS)
    assert counted + left == facts["usable rows"] == all_rows
    assert "groups in more than one part" in facts
    assert not any("left out" in name for name in whole.facts())
    known = part.tokenizer.get_vocab()
    texts = {r.texts["title"].split()[1] for r in kept_records(part)}
    gone = {r.texts["title"].split()[1] for r in kept_records(whole)} - texts
    assert any(text in known for text in texts)
    assert not any(text in known for text in gone)
    assert any(text in whole.tokenizer.get_vocab() for text in gone)


def test_rare_leaves_that_make_the_share_larger_are_told(shop):
    told = read(shop, data__train_share=0.01).quarantine.warnings
    assert len(told) == 1
    assert told[0].startswith("data.train_share=0.01 keeps ")
    assert "each leaf keeps whole groups, and at least one" in told[0]
    assert not read(shop, data__train_share=0.5).quarantine.warnings


def test_a_catalogue_of_which_nothing_is_held_out_has_the_manifest_it_had(tmp_path):
    rows = [
        (f"thing {n} {label}", label)
        for label in ("640610", "640620", "610910")
        for n in range(5)
    ]
    path = write_rows(tmp_path / "shop.csv", rows, ("title", "label"))
    found = read(path, data__columns__group="").manifest
    assert found == "dc7a3b78093057f100c20bb1d85126dbeee55ca7cc624adb6130e20aa59ff268"


def test_components_of_features_are_fitted_on_what_is_learnt_from(shop):
    held = {"data.leave_out": ("42",), "data.train_share": 0.3}
    config = run_config({**CODES, **held}, data__path=str(shop))
    trained = kept_records(read_catalogue(config))
    found = _training_keys(config, None)
    assert sorted(found) == sorted(content_keys(config, trained, "title"))
    plain = run_config(CODES, data__path=str(shop))
    assert len(_training_keys(plain, None)) > len(found)


@pytest.mark.parametrize(
    ("entries", "gone"),
    [
        (("64",), {"640610", "640620", "640391"}),
        (("64.06",), {"640610", "640620"}),
        (("6406 20", "4202"), {"640620", "420211", "420212"}),
    ],
)
def test_a_node_leaves_training_and_validation_with_all_below_it(shop, entries, gone):
    whole, held = read(shop), read(shop, data__leave_out=entries)
    assert held.tree == whole.tree
    assert rows_of(held, "test") == rows_of(whole, "test")
    for part in ("train", "val"):
        stay = [i for i in whole.rows(part) if whole.records[i].path[-1] not in gone]
        assert held.rows(part).tolist() == stay
    facts = held.facts()
    left = facts["rows left out of training and validation (leave_out)"]
    assert left == len(held.rows(OUT)) > 0
    tested = [whole.records[i].path[-1] in gone for i in whole.rows("test")]
    assert facts["test rows of what is left out (leave_out)"] == sum(tested) > 0
    word = WORDS[min(gone)]
    assert word not in held.tokenizer.get_vocab()
    assert word in whole.tokenizer.get_vocab()


def test_a_share_is_of_what_the_classes_left(shop):
    held = read(shop, data__leave_out=("64",), data__train_share=0.25)
    alone = read(shop, data__train_share=0.25)
    assert ends(held, "train") == {"610910", "420211", "420212"}
    kept = [i for i in alone.rows("train") if alone.records[i].path[0] != "64"]
    assert held.rows("train").tolist() == kept


def test_paths_and_own_codes_of_nodes_are_read_as_labels_are(tmp_path):
    labels = ("a > b", "a > c", "d > e")
    rows = [(f"thing {n} {x}", x, "") for x in labels for n in range(8)]
    path = write_rows(tmp_path / "s.csv", rows)
    kind = {"data__columns__label_kind": "path"}
    for entries, gone in ((("a>b",), {"a > b"}), (("a",), {"a > b", "a > c"})):
        held = read(path, data__leave_out=entries, **kind)
        assert ends(held, "train") == ends(held, "val") == set(labels) - gone
        assert ends(held, "test") == set(labels)
    tree = write_rows(
        tmp_path / "tree.csv",
        [("A", ""), ("B", "A"), ("C", "A"), ("D", "")],
        ("code", "parent"),
    )
    rows = [(f"thing {n} {x}", x, "") for x in ("B", "C", "D") for n in range(8)]
    path = write_rows(tmp_path / "n.csv", rows)
    kind = {"data__columns__label_kind": "node", "taxonomy__kind": "parents"}
    held = read(path, data__leave_out=("C",), taxonomy__path=str(tree), **kind)
    assert ends(held, "train") == {"A > B", "D"}
    assert ends(held, "test") == {"A > B", "A > C", "D"}


def test_codes_may_stand_in_a_file(shop, tmp_path):
    listed = write_rows(
        tmp_path / "held.csv", [("4202.11", "x"), ("61", "y")], ("code", "note")
    )
    by_file = read(shop, data__leave_out=(str(listed), "640391"))
    plain = read(shop, data__leave_out=("420211", "61", "640391"))
    assert by_file.manifest == plain.manifest != read(shop).manifest


MISTAKES = [
    ({"data.leave_out": ("640611",)}, "'640611' is no node of the tree. Did you mean"),
    (
        {"data.leave_out": ("40610", "9")},
        "data.leave_out, the first of 2 codes: probably a lost zero",
    ),
    ({"data.leave_out": (640610,)}, "640610 is no code; write codes in quotes"),
    ({"data.leave_out": ("gone.csv",)}, "data.leave_out: there is no file gone.csv"),
    ({"data.leave_out": ("64", "61", "42")}, "leaves no row for training: name fewer"),
    ({"data.train_share": 0.0}, "data.train_share is 0.0; give a share in (0, 1]"),
    ({"data.train_share": 1.5}, "data.train_share is 1.5; give a share in (0, 1]"),
]


@pytest.mark.parametrize(("changes", "words"), MISTAKES)
def test_a_mistake_ends_in_a_sentence(shop, tmp_path, changes, words):
    config = run_config({**CODES, "data.path": str(shop), **changes}, task="baseline")
    assert words in sentence(config, tmp_path / "run")


def test_flaws_of_a_file_of_codes_are_told(shop, tmp_path):
    path = tmp_path / "held.csv"
    for text, words in {
        "codes\n64\n": "no column 'code' (data.leave_out). Did you mean 'codes'?",
        "code,note\n64,x\n,y\n": "held.csv, row 2: no code",
        "code\n": "held.csv, no row",
    }.items():
        path.write_text(text)
        with pytest.raises(CatalogueError) as error:
            read(shop, data__leave_out=(str(path),))
        assert words in str(error.value)


def test_validation_has_to_keep_a_row(tmp_path):
    rows = [("boot 1", "640610", "a", "train"), ("boot 2", "640610", "b", "val")]
    rows += [("cup 1", "691110", "c", "train"), ("cup 2", "691110", "d", "train")]
    path = write_rows(tmp_path / "s.csv", rows, ("title", "label", "group", "part"))
    official = {"data__columns__split": "part", "data__split__by": "column"}
    with pytest.raises(CatalogueError, match="leaves no row for validation"):
        read(path, data__leave_out=("64",), **official)


def test_the_hard_variant_of_a_catalogue_is_made_of_all_its_rows(shop):
    held = {"data.leave_out": ("64",), "data.train_share": 0.5}
    splits = [
        read_split(run_config({**CODES, **x}, data__path=str(shop)), Quarantine())
        for x in ({}, held)
    ]
    assert splits[0].parts.tolist() == splits[1].parts.tolist()
    assert splits[0].names == splits[1].names


COUNTS = {"64": 5, "6406": 5, "640610": 5, "640620": 0}


def unseen_predictions(**changes):
    """Four rows of unseen leaves, one of them outside the tree; two of seen ones."""
    truth = ["640610", "640620", "640620", "640699", "640610", "6404"]
    answer = ["640610", "640620", "640610", "640610", "640620", "640411"]
    paths = [[x[:2], x[:4], x[:6] if len(x) > 4 else ""] for x in truth]
    table = np.array(paths, object)
    answers = np.array([[x[:2], x[:4], x] for x in answer], object)
    tops = [
        ["640610", "640620", "", "", ""],
        ["640620", "640610", "", "", ""],
        ["640610", "640411", "640699", "640620", ""],
        ["640610", "640620", "", "", ""],
        ["640620", "640411", "640610", "", ""],
        ["640610", "640411", "", "", ""],
    ]
    columns = {
        "separator": "",
        "complete": np.array([True] * 5 + [False]),
        "topk_codes": np.array(tops, object),
        "topk_probs": np.full((6, 5), 0.1, np.float32),
        "group": np.array([0, 1, 2, 3, 4, 4]),
    }
    return make_predictions(table, answers, **(columns | changes))


def test_unseen_and_seen_leaves_by_hand():
    found = score(unseen_predictions(), bootstrap=200, train_counts=COUNTS)
    # unseen: 640620 (right), 640620 (4th), 640699 (outside), 6404, unknown below it
    assert found["unseen/rows"] == 4
    assert found["unseen/accuracy"] == 2 / 4
    assert found["unseen/top3_accuracy"] == 2 / 4, "a path leads on through 6404"
    assert found["unseen/top5_accuracy"] == 3 / 4
    assert found["seen/rows"] == 2
    assert found["seen/accuracy"] == 1 / 2
    assert found["seen/top3_accuracy"] == found["seen/top5_accuracy"] == 1
    assert found["unseen/accuracy_low"] < 0.5 < found["unseen/accuracy_high"]
    assert "unseen/rows_low" not in found
    # leaves without training rows are rare ones, too
    assert found["leaf/few_shot_accuracy"] == 3 / 6


def test_nothing_is_said_where_every_leaf_is_seen_or_counts_are_not_known():
    predictions = unseen_predictions()
    known = {code: 1 for code in ("640610", "640620", "640699", "6404")}
    for counts in (known, {}, None):
        found = score(predictions, bootstrap=0, train_counts=counts)
        assert not [name for name in found if "seen/" in name]
        text = report_markdown(predictions, found, context={})
        assert "without a training row" not in text
    few = make_predictions(["A", "B"], ["A", "A"], depth=1)  # one path kept a row
    found = score(few, bootstrap=0, train_counts={"A": 1})
    assert [n for n in found if n.startswith("unseen/")] == [
        "unseen/rows",
        "unseen/accuracy",
    ]
    alone = score(few, bootstrap=0, train_counts={"C": 1})
    assert alone["unseen/rows"] == 2
    assert "seen/rows" not in alone


@pytest.fixture(scope="module")
def run(shop, tmp_path_factory):
    """The baseline without examples of two headings, on labels told as weak."""
    workdir = tmp_path_factory.mktemp("runs") / "b1"
    listed = write_rows(workdir.parent / "held.csv", [("4202",)], ("code",))
    changes = {"data.path": str(shop), "task": "baseline"}
    changes["data.leave_out"] = ("6403", str(listed))
    changes["data.label_source"] = "weak:  mapped | by\nword."
    config = run_config({**CODES, **changes})
    train_run(config, workdir)
    return config, workdir, listed


def test_a_report_tells_the_unseen_classes_and_the_source_of_labels(run):
    config, workdir, _ = run
    found, text = report(workdir), (workdir / "report.md").read_text()
    metrics = found["metrics"]
    assert metrics["unseen/accuracy"] == metrics["unseen/top5_accuracy"] == 0
    assert metrics["seen/accuracy"] == 1
    tested = found["context"]["catalogue"]["test rows of what is left out (leave_out)"]
    assert metrics["unseen/rows"] == tested > 5
    assert metrics["unseen/rows"] + metrics["seen/rows"] == metrics["count/rows"]
    counts = read_train_counts(workdir)
    assert not any(code.startswith(("6403", "4202")) for code in counts)
    section = text.split("## Classes without a training row\n\n")[1].split("\n\n")[0]
    cells = [[x.strip() for x in x.split("|")[1:-1]] for x in section.splitlines()]
    assert cells[2][:3] == ["none", f"{tested}", "0.0 [0.0, 0.0]"]
    assert cells[3][0] == "1 or more"
    assert "rows left out of training and validation (leave_out)" in text
    assert found["label_source"] == "weak: mapped | by word."
    lines = text.splitlines()
    first = "Labels: weak: mapped | by word. Every figure is agreement with them."
    assert lines[2] == first
    assert "| labels | weak: mapped \\| by word. |" in lines


def test_another_file_is_scored_by_what_the_run_has_seen(run, tmp_path):
    _, workdir, _ = run
    rows = [("boot", "640391", "a"), ("heel", "640610", "b"), ("hat", "650500", "c")]
    source = str(write_rows(tmp_path / "new.csv", rows))
    options = {"source": source, "part": "", "corrupt": "", "seed": 0}
    evaluate_run(workdir, tmp_path / "new", **options)
    found, text = report(tmp_path / "new"), (tmp_path / "new/report.md").read_text()
    assert found["metrics"]["unseen/rows"] == 2
    assert found["metrics"]["unseen/accuracy"] == 0
    assert found["metrics"]["seen/accuracy"] == 1
    # what the run learnt from does not say what this file's labels are
    assert "label_source" not in found
    assert "| labels of the training part | weak: mapped" in text
    assert "Labels: weak" not in text
    options["source"], options["part"] = None, "test"
    evaluate_run(workdir, tmp_path / "own", **options)
    again, first = report(tmp_path / "own"), report(workdir)
    assert again["metrics"] == first["metrics"]
    assert again["label_source"] == first["label_source"]


def test_a_run_compares_what_was_held_out(run):
    config, workdir, listed = run
    assert "is done" in train_run(config, workdir)
    before, text = (workdir / "report.json").read_bytes(), listed.read_text()
    listed.write_text("code\n420211\n")
    with pytest.raises(WorkdirError, match="other rows or another split"):
        train_run(config, workdir)
    assert (workdir / "report.json").read_bytes() == before
    listed.write_text(text)
    other = config.copy_and_resolve_references().unlock()
    other.data.train_share = 0.5
    with pytest.raises(WorkdirError, match=r"data\.train_share: 1\.0 -> 0\.5"):
        train_run(other.lock(), workdir)
    # a report may be told anew where its labels are from
    other = config.copy_and_resolve_references().unlock()
    other.data.label_source = "checked by hand"
    train_run(other.lock(), workdir)
    assert report(workdir)["label_source"] == "checked by hand"
    metrics = json.loads(before)["metrics"]
    assert report(workdir)["metrics"] == metrics


def test_a_report_without_a_source_of_labels_says_nothing_of_it(shop, tmp_path):
    config = run_config({**CODES, "data.path": str(shop)}, task="baseline")
    train_run(config, tmp_path)
    assert sorted(report(tmp_path)) == ["context", "metrics"]
    text = (tmp_path / "report.md").read_text()
    assert "Labels:" not in text
    assert "| labels |" not in text
    assert "without a training row" not in text
    assert text.splitlines()[2] == "|  |  |"


def test_a_share_of_the_labels_goes_and_the_products_stay(shop):
    whole, found = read(shop), read(shop, data__label_share=0.3)
    assert (found.parts == whole.parts).all()
    assert found.tree.hash == whole.tree.hash
    bare = (found.labels < 0).all(axis=1)
    train = found.parts == "train"
    assert bare.any()
    assert not bare[~train].any()
    assert abs((train & ~bare).sum() / train.sum() - 0.3) < 0.05
    assert {r.path for r in found.records} == {r.path for r in whole.records} | {()}
    same = np.flatnonzero(~bare)
    assert (found.labels[same] == whole.labels[same]).all()
    name = "training rows without their label (label_share)"
    assert found.facts()[name] == bare.sum() == (train & bare).sum()
    fewer = read(shop, data__label_share=0.1)
    assert (fewer.labels < 0).all(axis=1)[bare].all()
    with pytest.raises(CatalogueError, match="data.label_share is 0"):
        read(shop, data__label_share=0.0)


@pytest.mark.slow
def test_the_baseline_learns_from_labelled_rows_alone(shop, tmp_path):
    asked = {**CODES, "data.path": str(shop), "task": "baseline"}
    few_labels = run_config(asked, data__label_share=0.1)
    train_run(few_labels, tmp_path / "few")
    train_run(run_config(asked, data__train_share=0.1), tmp_path / "rows")
    few, rows = report(tmp_path / "few"), report(tmp_path / "rows")
    assert few["metrics"]["level3/accuracy"] == rows["metrics"]["level3/accuracy"]
    assert read_train_counts(tmp_path / "few") == read_train_counts(tmp_path / "rows")
