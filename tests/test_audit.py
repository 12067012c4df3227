"""Impossible tables are refused, and never a table that some classifier has."""

import json

import numpy as np
import pytest
from runs import command
from scipy import optimize

from hsjax.data.records import CatalogueError
from hsjax.evaluation.audit import CHECKS, Facts, Figure, audit_figures
from hsjax.evaluation.audit_bounds import (
    accuracy_bounds,
    extreme_shares,
    f1_bounds,
    hierarchical_recall_bounds,
    is_share_of,
    weighted_bounds,
    weighted_f1_bounds,
)
from hsjax.evaluation.audit_facts import facts_of, read_report
from hsjax.evaluation.audit_table import (
    audit_models,
    audit_text,
    metric_name,
    read_figure,
    read_table,
)
from hsjax.evaluation.measures import class_averages

# Table II of Paper B, as it is printed.
TABLE_II = """\
Metric,RoBERTa,ViT,SimCLR,R & V Early,R & V Late,R & V Attention,CLIP Early,CLIP Late,\
CLIP Attention
<b>Macro F1</b>,,,,,,,,,
Level 2,82.92%,75.23%,62.92%,77.33%,85.38%,70.37%,99.00%,<b>99.32%</b>,98.66%
Level 3,61.03%,50.43%,30.79%,50.67%,65.56%,43.74%,97.15%,<b>98.31%</b>,95.28%
Level 4,54.27%,42.65%,23.87%,42.12%,57.15%,36.20%,97.03%,<b>98.23%</b>,95.06%
<b>Weighted F1</b>,,,,,,,,,
Level 2,95.75%,96.71%,93.35%,96.66%,<b>98.22%</b>,96.32%,92.55%,95.22%,86.85%
Level 3,90.74%,87.77%,77.74%,87.72%,<b>94.37%</b>,87.95%,82.15%,88.49%,67.21%
Level 4,90.45%,87.39%,77.11%,87.28%,<b>94.04%</b>,87.35%,75.64%,82.28%,57.68%
<b>hP</b>,92.39%,91.23%,83.82%,91.11%,95.68%,91.08%,97.78%,<b>98.66%</b>,96.47%
<b>hR</b>,92.44%,90.62%,83.71%,90.59%,95.39%,90.24%,97.62%,<b>98.52%</b>,96.25%
<b>hF1</b>,92.41%,90.92%,83.77%,90.85%,95.54%,90.66%,97.70%,<b>98.59%</b>,96.36%
"""
# said in the paper: 8 classes at level 2, Shoes and Clothing together 84.28 %, 56 at 3
STATED = {"level2": Facts(classes=8, largest=0.8428), "level3": Facts(classes=56)}


def table(tmp_path, text):
    (tmp_path / "table.csv").write_text(text)
    return read_table(tmp_path / "table.csv")


def figures(**cells):
    """level2__macro_f1="98.66 %" and so on."""
    found = {k.replace("__", "/"): v for k, v in cells.items()}
    return {k: read_figure(v, percent=False) for k, v in found.items()}


def told(found):
    return [finding.sentence for finding in found]


def test_the_clip_columns_of_table_ii_are_refused_and_no_others(tmp_path):
    models = table(tmp_path, TABLE_II)
    assert len(models) == 9
    assert all(len(found) == 9 for found in models.values())
    audits = {a.model: a for a in audit_models(models, STATED)}
    refused = {name for name, audit in audits.items() if audit.findings}
    assert refused == {"CLIP Early", "CLIP Late", "CLIP Attention"}
    for name in refused:
        names = {n for finding in audits[name].findings for n in finding.names}
        # two proofs that share no figure but the weighted F1
        assert {"level2/macro_f1", "level2/weighted_f1", "hierarchical/recall"} <= names
        assert audits[name].swapped
    text = audit_text(list(audits.values()), STATED)
    assert "RoBERTa: 9 figures, possible" in text
    assert text.count("possible if macro and weighted F1 were exchanged") == 3


def test_table_ii_is_possible_with_the_rows_exchanged(tmp_path):
    lines = TABLE_II.replace("Macro F1", "?").replace("Weighted F1", "Macro F1")
    models = table(tmp_path, lines.replace("?", "Weighted F1"))
    audits = {a.model: a for a in audit_models(models, STATED)}
    for name in ("CLIP Early", "CLIP Late", "CLIP Attention"):
        assert not audits[name].findings
    # and the others are not possible that way
    assert all(audits[name].findings for name in ("RoBERTa", "ViT", "SimCLR"))


def test_the_proof_from_the_number_of_classes_alone(tmp_path):
    """8 x 0.0134 = 0.107 of a class is lacking, 0.132 of all rows cannot fall on it."""
    known = {"level2": Facts(classes=8)}
    found = audit_figures(
        figures(level2__macro_f1="98.66%", level2__weighted_f1="86.85%"), known
    )
    assert len(found) == 1
    assert "is below 89.24 %, the least that" in found[0].sentence
    assert "a class would need 122.17 % of the rows" in found[0].sentence
    # with shares that are known the bound is tighter, and holds above, too
    even = {"level2": Facts(classes=2, shares=np.array([0.5, 0.5]))}
    for weighted in ("89%", "91%"):
        cells = figures(level2__macro_f1="90.0%", level2__weighted_f1=weighted)
        assert len(audit_figures(cells, even)) == 1
        assert not audit_figures(cells, {"level2": Facts(classes=2)})


PARTS = {"macro_precision": "90%", "macro_recall": "60%"}
HALVES = {"hierarchical/precision": "80.00%", "hierarchical/recall": "80.00%"}
LEVELS = {"level1/accuracy": "90.0%", "level2/accuracy": "70.0%"}
IMPOSSIBLE = {
    "must be equal": {"accuracy": "0.91", "weighted_recall": "0.93"},
    "allow 49.00 % to 72.52 %": {"macro_f1": "74%", **PARTS},
    "allow 49.90 % to 72.05 %": {"f1": "0.48", "precision": "0.900", "recall": "0.600"},
    "allows 33.28 % to 66.71 %": {"weighted_f1": "32.0%", "accuracy": "50.0%"},
    "allow 79.99 % to 80.01 %": {"hierarchical/f1": "80.1%", **HALVES},
    "figures allow 79.95 % to 90.05 %": {"hierarchical/recall": "91%", **LEVELS},
    "is no share": {"accuracy": "104%"},
    "macro_recall 0.2 alone allows 0.00 % to 40.00 %": {
        "level3/macro_f1": "0.99",
        "level3/macro_recall": "0.2",
    },
    "weighted_precision 20% alone allows 0.00 % to 34.02 %": {
        "weighted_f1": "35%",
        "weighted_precision": "20%",
    },
    "hierarchical/recall 50% alone allows 0.00 % to 67.11 %": {
        "hierarchical/f1": "68%",
        "hierarchical/recall": "50%",
    },
    "accuracy 20% allows": {"weighted_f1": "50%", "accuracy": "20%"},
    "weighted_recall 20% allows": {"weighted_f1": "50%", "weighted_recall": "20%"},
}


@pytest.mark.parametrize("reason", IMPOSSIBLE)
def test_each_impossible_table_is_told_in_words(reason):
    cells = {k: read_figure(v, percent=False) for k, v in IMPOSSIBLE[reason].items()}
    (sentence,) = told(audit_figures(cells, {}))
    assert reason in sentence


def test_too_few_items_for_the_digits():
    known = {"": Facts(rows=19)}
    assert told(audit_figures(figures(accuracy="89.6%"), known)) == [
        "accuracy 89.6% is no whole number of 19 rows"
    ]
    assert not audit_figures(figures(accuracy="89.5%"), known)  # 17 of 19
    assert not audit_figures(figures(accuracy="89.6% ± 0.4"), known)  # over seeds
    assert not audit_figures(figures(accuracy="89.6%"), {"": Facts(rows=1900)})
    levels = {"level1": Facts(rows=10), "level2": Facts(rows=9)}
    cells = figures(level1__accuracy="90%", level2__accuracy="67%")
    cells |= figures(hierarchical__recall="0.78947")  # 15 of 19
    assert not audit_figures(cells, levels)
    cells |= figures(hierarchical__recall="0.781")
    assert "hierarchical/recall 0.781 is no whole number of 19 rows" in told(
        audit_figures(cells, levels)
    )


def classifier(rng, *, rows, classes, levels):
    """Truth and answers of a random, ragged, more or less good classifier."""
    shares = rng.dirichlet(np.full(classes, rng.choice([0.1, 1, 10])))
    truth = np.full((rows, levels), "", object)
    answer = np.full((rows, levels), "", object)
    skill, biased = rng.random(classes), rng.integers(classes)
    for row in range(rows):
        leaf = rng.choice(classes, p=shares)
        guess = leaf if rng.random() < skill[leaf] else rng.integers(classes)
        guess = biased if rng.random() < 0.1 else guess
        for codes, end in ((truth, leaf), (answer, guess)):
            depth = levels if rng.random() < 0.7 else rng.integers(1, levels + 1)
            for level in range(depth):
                codes[row, level] = f"{level}-{end % (2 + 3 * level)}"
    return truth, answer


def measured(truth, answer):
    """The exact scores by our names, and the facts of each level."""
    scores, facts = {}, {}
    for level in range(truth.shape[1]):
        t, a = truth[:, level], answer[:, level]
        name, there = f"level{level + 1}", t != ""
        if not there.any():
            continue
        found = class_averages(t, a)(np.ones((len(t), 1)))
        kinds = ("macro", "weighted")
        for score in (f"{k}_{s}" for k in kinds for s in ("f1", "precision", "recall")):
            scores[f"{name}/{score}"] = float(found[score][0])
        scores[f"{name}/accuracy"] = float((t == a)[there].mean())
        counts = np.unique(t[there], return_counts=True)[1]
        facts[name] = Facts(
            classes=len(counts), rows=int(there.sum()), shares=counts / counts.sum()
        )
    shared = ((truth == answer) & (truth != "")).sum()
    given, size = (answer != "").sum(), (truth != "").sum()
    scores["hierarchical/precision"] = shared / given
    scores["hierarchical/recall"] = shared / size
    scores["hierarchical/f1"] = 2 * shared / (given + size)
    return scores, facts


def test_no_table_of_a_classifier_is_refused():
    rng = np.random.default_rng(0)
    for _ in range(60):
        shape = {"classes": int(rng.integers(2, 9)), "levels": int(rng.integers(1, 4))}
        pair = classifier(rng, rows=int(rng.integers(3, 80)), **shape)
        scores, facts = measured(*pair)
        for digits in (0, 1, 2, 4):
            cells = {
                k: read_figure(f"{100 * v:.{digits}f}%", percent=False)
                for k, v in scores.items()
            }
            for kept in ({}, {"shares": None}, {"shares": None, "rows": None}):
                known = {k: f._replace(**kept) for k, f in facts.items()}
                assert audit_figures(cells, known) == [], scores
            assert audit_figures(cells, {}) == []
            for gone in ("precision", "recall"):
                some = {k: v for k, v in cells.items() if not k.endswith(gone)}
                assert audit_figures(some, {}) == [], scores


def test_the_bound_of_one_part_leaves_what_rounds_to_it():
    """2R / (1 + R) is 0.4 where R is 0.25, the most that rounds to 0.2."""
    for f1, possible in (("0.4", True), ("0.40", True), ("0.41", False)):
        found = audit_figures(figures(macro_f1=f1, macro_recall="0.2"), {})
        assert bool(found) != possible
    # it is reached where all classes are alike and no answer is wrong
    truth = np.array(list("aabb"), object)
    answer = np.array(["a", "", "b", ""], object)
    found = class_averages(truth, answer)(np.ones((4, 1)))
    assert found["macro_recall"][0] == 0.5
    assert found["macro_f1"][0] == f1_bounds((0.0, 1.0), (0.5, 0.5))[1]


def test_no_mean_over_runs_is_refused():
    rng = np.random.default_rng(1)
    truth, _ = classifier(rng, rows=60, classes=6, levels=2)
    runs = []
    for _ in range(5):
        order = rng.permutation(60)
        wrong = rng.random(60) < rng.random()
        runs.append(measured(truth, np.where(wrong[:, None], truth[order], truth)))
    means = {k: np.mean([scores[k] for scores, _ in runs]) for k in runs[0][0]}
    cells = {
        k: read_figure(f"{100 * v:.2f}% ± 1.00", percent=False)
        for k, v in means.items()
    }
    assert all(figure.averaged for figure in cells.values())
    assert audit_figures(cells, runs[0][1]) == []


@pytest.mark.parametrize("seed", range(6))
def test_weighted_bounds_are_those_of_the_linear_program(seed):
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 7))
    shares, macro = rng.dirichlet(np.ones(classes)), rng.random()
    mean = {"A_eq": np.full((1, classes), 1 / classes), "b_eq": [macro]}
    solved = [
        optimize.linprog(sign * shares, bounds=(0, 1), **mean).fun * sign
        for sign in (1, -1)
    ]
    assert weighted_bounds((macro, macro), shares) == pytest.approx(solved)
    # whatever the shares are, the extreme ones allow more
    low, high = weighted_bounds((macro, macro), extreme_shares(classes))
    assert low <= solved[0] + 1e-9
    assert solved[1] <= high + 1e-9


def test_extreme_shares_majorize_all_others():
    rng = np.random.default_rng(0)
    for _ in range(200):
        classes, rows = int(rng.integers(1, 7)), int(rng.integers(7, 40))
        counts = 1 + rng.multinomial(rows - classes, rng.dirichlet(np.ones(classes)))
        shares = np.sort(counts / rows)[::-1]
        found = extreme_shares(classes, rows=rows, largest=shares[0])
        assert found.sum() == pytest.approx(1)
        assert found.max() <= shares[0] + 1e-9
        assert found.min() >= 1 / rows - 1e-9
        assert (found.cumsum() >= shares.cumsum() - 1e-9).all()
    for wrong in ({"classes": 3, "largest": 0.3}, {"classes": 9, "rows": 8}):
        with pytest.raises(ValueError, match="cannot be"):
            extreme_shares(**wrong)


def test_the_other_bounds_are_reached():
    assert f1_bounds((0.5, 0.5), (0.5, 0.5)) == (0.0, 0.5)  # corners (1, 0), (0, 1)
    for accuracy in (0.2, 0.75):
        low, high = weighted_f1_bounds((accuracy, accuracy))
        rows = np.arange(20) < 20 * accuracy
        truth = np.where(rows, "a", "b").astype(object)
        for wrong, bound in (("a", low), ("", high)):
            # all in one class; nothing answered, where the class has all rows
            known = truth if wrong else np.full(20, "a", object)
            answer = np.where(rows, "a", wrong).astype(object)
            found = class_averages(known, answer)(np.ones((20, 1)))["weighted_f1"][0]
            assert found == pytest.approx(bound)
        for bound in (low, high):
            ends = accuracy_bounds((bound, bound))
            assert min(abs(end - accuracy) for end in ends) < 1e-9
    levels = [(0.9, 0.9), (0.6, 0.6), (0.9, 0.9)]
    assert hierarchical_recall_bounds(levels) == pytest.approx((0.75, 0.9))
    assert hierarchical_recall_bounds(levels, [3, 2, 1]) == pytest.approx((0.8, 0.8))
    assert is_share_of((1 / 3, 1 / 3), 3)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Weighted F1, Level 10", "level10/weighted_f1"),
        ("level1/macro_precision", "level1/macro_precision"),
        ("Recall (macro avg) at 4 digits", ""),
        ("recall macro 4 digits", "digits4/macro_recall"),
        ("6-digit accuracy", "digits6/accuracy"),
        ("F1-score", "f1"),
        ("**hR**", "hierarchical/recall"),
        ("Hierarchical precision", "hierarchical/precision"),
        ("level3/macro_f1_min5", ""),
        ("level3/name_accuracy", ""),
        ("hierarchical/f1_low", ""),
        ("Seconds", ""),
    ],
)
def test_names_of_metrics(text, name):
    assert metric_name(text) == name


def test_tables_lie_either_way_and_may_be_shares(tmp_path):
    across = "model,accuracy,weighted recall,note\nours,0.91,0.93,best\nb1,0.9,0.9,\n"
    models = table(tmp_path, across)
    assert [bool(a.findings) for a in audit_models(models, {})] == [True, False]
    down = "metric,ours\naccuracy,91\nweighted recall,93\n"
    models = table(tmp_path, down)
    assert models["ours"]["accuracy"][:2] == pytest.approx((0.905, 0.915))
    for text in ("", "a,b\nc,d\n"):
        with pytest.raises(CatalogueError, match="no metric was recognised"):
            table(tmp_path, text)
    for read, name in ((read_table, "gone.csv"), (read_report, "gone.json")):
        with pytest.raises(CatalogueError, match=rf"{name}: no such file$"):
            read(tmp_path / name)
    with pytest.raises(CatalogueError, match="no table to read"):
        read_table(tmp_path)
    with pytest.raises(CatalogueError, match="what is known of the classes: 9 classes"):
        audit_models(
            {"m": figures(macro_f1="90%", weighted_f1="90%")},
            {"": Facts(classes=9, largest=0.1)},
        )


def test_a_report_is_audited_with_its_own_counts(tmp_path):
    rng = np.random.default_rng(2)
    scores, facts = measured(*classifier(rng, rows=50, classes=5, levels=2))
    counts = {f"count/{k}_rows": f.rows for k, f in facts.items()}
    counts |= {f"count/{k}_classes": f.classes for k, f in facts.items()}
    document = {"context": {"run": "ours"}, "metrics": {**scores, **counts}}
    document["metrics"] |= {"level1/ece": None, "count/rows": 50.0}
    path = tmp_path / "report.json"
    path.write_text(json.dumps(document))
    models, known = read_report(path)
    assert known["level2"] == facts["level2"]._replace(shares=None)
    assert len(models["ours"]) == len(scores)
    assert not audit_models(models, known)[0].findings
    document["metrics"]["level1/accuracy"] += 0.001
    path.write_text(json.dumps(document))
    (audit,) = audit_models(*read_report(path))
    assert any("no whole number of" in text for text in told(audit.findings))
    path.write_text("[]")
    with pytest.raises(CatalogueError, match="no report of a run"):
        read_report(path)


def test_the_command_refuses_and_says_why(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(TABLE_II)
    flags = ("--classes=level2:8", "--largest=level2:0.8428")
    process = command(path, *flags, module="hsjax.audit")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert out.count("is below") == 3
    process = command(path, "--classes=level2:many", module="hsjax.audit")
    _, err = process.communicate(timeout=120)
    assert (
        err.strip() == "hsjax: --classes=level2:many: write LEVEL:NUMBER, as level2:8"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("table.csv", "--largest=level2:nan"), "hsjax: of level2 is told"),
        (("table.csv", "--largest=level2:inf"), "hsjax: of level2 is told"),
        (("table.csv", "--classes=level2:inf"), "write LEVEL:NUMBER, as level2:8"),
        (("report.json", "--classes=level2:8"), "--classes says nothing of a report"),
        (("gone.csv",), "gone.csv: no such file"),
    ],
)
def test_mistakes_end_in_a_sentence(tmp_path, words, said):
    (tmp_path / "table.csv").write_text(TABLE_II)
    name, *flags = words
    process = command(tmp_path / name, *flags, module="hsjax.audit")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert said in out + err
    assert "Traceback" not in out + err


def audited(tmp_path, *lines, **told):
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines))
    models = read_table(path)
    facts = facts_of(models, {"": told} if told else {})
    return audit_text(audit_models(models, facts), facts)


def test_numbers_are_read_as_they_are_meant(tmp_path):
    rows = ("metric,A", "Macro F1,0.9866", "Weighted F1,0.6")
    assert "1 impossible" in audited(tmp_path, *rows, classes=8)
    # a row that is no score says nothing of percent
    assert "1 impossible" in audited(tmp_path, *rows, "Epochs,30", classes=8)
    said = audited(tmp_path, "metric,A", "accuracy,.95", 'weighted recall,"0,20"')
    assert "must be equal" in said
    assert "is no share" in audited(tmp_path, "metric,A", "accuracy,-0.3")
    assert read_figure("91.25 [90.5, 91.9]", percent=True).averaged
    with pytest.raises(
        CatalogueError, match="accuracy of 'A' is '~0.9'; write a number"
    ):
        audited(tmp_path, "metric,A", "accuracy,~0.9")


def test_shares_and_percentages_of_a_model_are_told_apart(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("metric;A;B\naccuracy;93,1;0,95\nweighted recall;91;0,95\n")
    found = {name: of["accuracy"].low for name, of in read_table(path).items()}
    assert found == pytest.approx({"A": 0.9305, "B": 0.945})
    path.write_text("metric,A\naccuracy,93\nweighted recall,0.93\n")
    with pytest.raises(CatalogueError, match="'A' has '93' and '0.93': write all as"):
        read_table(path)
    said = audited(tmp_path, "metric,A", "macro F1,0.5", "accuracy,.4", classes=2)
    assert "exchanged" not in said, "there is but one F1"


def test_columns_stay_with_their_model(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("metric,,A,,B\naccuracy,,0.9,,0.7\n")
    found = {name: of["accuracy"].text for name, of in read_table(path).items()}
    assert found == {"A": "0.9", "B": "0.7"}
    path.write_text("metric,A,A\naccuracy,0.9,0.7\n")
    with pytest.raises(CatalogueError, match="two models are called 'A'"):
        read_table(path)


def test_what_is_told_of_no_level_is_refused(tmp_path):
    rows = ("metric,A", "Macro F1 Level 2,0.9", "Weighted F1 Level 2,0.6")
    assert "of level2 was not checked" in audited(tmp_path, *rows)
    assert "not checked" not in audited(tmp_path, *rows, classes=8), "of all levels"
    models = read_table(tmp_path / "table.csv")
    with pytest.raises(CatalogueError, match="no level 'leve2'; known: level2"):
        facts_of(models, {"leve2": {"classes": 8}})
    for fields in ({"classes": 0}, {"largest": 84.28}):
        with pytest.raises(CatalogueError, match="1 or more"):
            facts_of(models, {"level2": fields})


def test_every_check_is_tried():
    assert len(CHECKS) == 7
    assert Figure(0.0, 1.0, "") == (0.0, 1.0, "", False)
