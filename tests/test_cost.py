"""What a product costs: counted against what can be counted by hand, timed in turns."""

import json
import shutil
import time

import jax
import numpy as np
import pytest
from encoders import extraction, path_of, records
from ml_collections import ConfigDict
from runs import ROOT, SMALL, TEXT, command, run_config, train_run
from safetensors.numpy import load_file
from sklearn.feature_extraction.text import TfidfVectorizer

from hsjax.benchmarks.cost import (
    baseline_cost,
    bench_cost,
    cost_markdown,
    first_trained,
    full_batch,
    model_cost,
)
from hsjax.data.features import stores_of
from hsjax.data.prepare import read_catalogue
from hsjax.data.store import store_facts
from hsjax.inference.predict import load_run
from hsjax.inference.predict import run_config as config_of
from hsjax.sharding import parameter_names
from hsjax.sweep.lists import read_runs
from hsjax.tasks.extraction import open_encoder
from hsjax.timing import is_noisy
from hsjax.train.workdir import ConfigError
from hsjax.trained.programs import StoreCosts, encoder_cost, program_cost, timed

SHORT = {**SMALL, **TEXT, "train.steps": 2, "train.eval_every": 2}
FROZEN = (("text/.*", 0.0, False), (".*", 1.0, True))
LINES = (
    {"name": "text", "overrides": SHORT, "seed": [0, 1]},
    {"name": "svm", "overrides": {**SHORT, "task": "baseline"}},
    {"name": "never", "overrides": SHORT},
)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """(list of runs, folder): of the first row the second seed alone is trained."""
    root = tmp_path_factory.mktemp("sweep")
    path = root / "runs.jsonl"
    lines = [{"config": str(ROOT / "configs/base.py"), **line} for line in LINES]
    path.write_text("\n".join(map(json.dumps, lines)))
    for run in read_runs(path):
        if run.name in ("text/seed1", "svm"):
            train_run(run.config, root / run.name)
    return path, root


@pytest.fixture(scope="module")
def text_run(sweep):
    return load_run(sweep[1] / "text/seed1")


def kernels(params, *, below):
    names = zip(parameter_names(params), jax.tree.leaves(params), strict=True)
    return sum(
        x.size for name, x in names if name.startswith(below) and "kernel" in name
    )


def test_the_command_measures_the_first_trained_seed_of_each_row(sweep, tmp_path):
    path, root = sweep
    flags = (f"--runs={path}", f"--root={root}", "--rounds=7")
    files = f"--json={tmp_path}/cost.json", f"--output={tmp_path}/cost.md"
    process = command("cost", *flags, *files, module="hsjax.bench")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "never: no run of it is trained yet" in err
    found = json.loads((tmp_path / "cost.json").read_text())
    assert found["noisy"] == is_noisy(found)
    rows = {k: x for k, x in found.items() if isinstance(x, dict)}
    assert {k: x["run"] for k, x in rows.items()} == {
        "text": "text/seed1",
        "svm": "svm",
    }
    for row in rows.values():
        low, high = row["model_ms_quartiles"]
        assert 0 < low <= row["model_ms"] <= high
        assert row["model_flops"] > 0
        assert "encoder_flops" not in row  # nothing is cached
    assert rows["text"]["trained_parameters"] == rows["text"]["parameters"]
    table = (tmp_path / "cost.md").read_text()
    assert table == cost_markdown(found)
    assert ("**Noisy**" in table) == found["noisy"]
    line = next(x for x in table.splitlines() if x.startswith("| text |"))
    assert f"| {rows['text']['parameters']:,} |" in line
    assert line.endswith(f"| – | – | – | {SMALL['eval.batch_size']} |")


def test_frozen_parameters_are_not_trained_ones(text_run):
    config = text_run.config.copy_and_resolve_references()
    config.optim.rules = FROZEN
    frozen = model_cost(text_run._replace(config=config), rounds=1)
    still = sum(x.size for x in jax.tree.leaves(text_run.params["text"]))
    assert frozen["trained_parameters"] == frozen["parameters"] - still
    assert 0 < frozen["trained_parameters"] < frozen["parameters"]


def test_flops_are_those_of_the_matrices(text_run):
    """On one device, not a share of eight, and whatever the size of the batch."""
    tokens = SMALL["data.text.length"]
    inner = kernels(text_run.params, below="text/layer")
    products = 2 * (tokens * inner + kernels(text_run.params, below="head/"))
    found = []
    for rows in (8, 64):
        config = text_run.config.copy_and_resolve_references()
        config.eval.batch_size = rows
        found.append(model_cost(text_run._replace(config=config), rounds=1))
    assert [x["batch_size"] for x in found] == [8, 64]
    for cost in found:
        assert products < cost["model_flops"] < 4 * products
    one, other = (x["model_flops"] for x in found)
    assert one == pytest.approx(other, rel=0.1)


def test_a_product_of_matrices_is_counted_by_hand():
    function = jax.jit(lambda w, x: x @ w)
    w = np.ones((5, 7), np.float32)
    batches = [(w, np.ones((rows, 5), np.float32)) for rows in (6, 4, 6)]
    # 14 items, two of the 16 rows fill up
    cost = program_cost(function, batches, items=14, rounds=1)
    assert cost["flops"] == 16 * 2 * 5 * 7 / 14
    assert cost["ms"] > 0


def test_a_full_batch_lacks_nothing(text_run):
    batch = full_batch(text_run, 8)
    text_run.spec.check(batch)
    assert batch["title_mask"].all()
    assert batch["has_title"].all()
    assert (batch["weight"] == 1).all()
    assert len(np.unique(batch["title_ids"])) > 8


def test_turns_of_short_work_are_repeated(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    seconds, calls = iter([9.0] + [0.03] * 5 + [0.06] * 4 + [0.09] * 4), []

    def work():
        calls.append(0)
        clock[0] += next(seconds)

    found = timed(work, rounds=3, items=4)
    # a warm-up, one look, then three turns of four calls: 30, 60 and 90 ms a call
    assert len(calls) == 14
    assert found["ms"] == pytest.approx(15)
    assert found["ms_quartiles"] == pytest.approx([11.25, 18.75])
    assert found["ms_spread"] == pytest.approx(0.5)


def test_an_svm_costs_its_coefficients(sweep):
    workdir = sweep[1] / "svm"
    config = config_of(workdir)
    cost = baseline_cost(config, workdir, rounds=1)
    catalogue = read_catalogue(config)
    train, test = (
        [catalogue.records[i].texts["title"] for i in catalogue.rows(part)]
        for part in ("train", "test")
    )
    words = TfidfVectorizer(ngram_range=(1, 2)).fit(train)
    vocabulary, analyse = words.vocabulary_, words.build_analyzer()
    known = [len(set(analyse(text)) & vocabulary.keys()) for text in test]
    classes = len({catalogue.records[i].path for i in catalogue.rows("train")})
    assert cost["parameters"] == classes * (len(vocabulary) + 1)
    assert cost["model_flops"] == pytest.approx(2 * np.mean(known) * classes)
    assert cost["batch_size"] == min(len(test), SMALL["eval.batch_size"])


def on_stores(shop, folder, *modalities):
    config = run_config(path_of(shop)).unlock()
    config.model.modalities = ("title", "image")
    config.data.columns.text = ("title",)
    config.data.features = ConfigDict({m: str(folder / m) for m in modalities})
    return config.lock()


def test_encoders_of_stores_are_measured_once(shop, stores, bert, monkeypatch):
    asked = []

    def counted(encoder, items, *, rounds):
        asked.append(len(items))
        return encoder_cost(encoder, items, rounds=rounds)

    monkeypatch.setattr("hsjax.trained.programs.encoder_cost", counted)
    costs, config = StoreCosts(1), on_stores(shop, stores, "title", "image")
    first, again = costs.of(config), costs.of(config)
    assert first == again
    assert len(asked) == 2
    tensors = load_file(bert / "model.safetensors")
    pooler = {k: x for k, x in tensors.items() if "pooler" in k}
    total = sum(x.size for k, x in tensors.items() if k not in pooler)
    assert first["title"]["parameters"] == total
    assert first["image"]["flops"] > 0
    titles = {r.texts["title"] for r in records(config)} - {""}
    assert first["title"]["items"] == min(len(titles), SMALL["eval.batch_size"])
    # a run on raw titles has one encoder less
    assert costs.of(on_stores(shop, stores, "image")).keys() == {"image"}


def test_longer_texts_cost_more(shop, bert):
    encoder = open_encoder(extraction(shop, bert, "title"))
    short, long = (encoder_cost(encoder, ["boot " * n] * 8, rounds=1) for n in (3, 9))
    assert short["parameters"] == long["parameters"]
    assert 1.2 < long["flops"] / short["flops"] < 3  # 12 tokens for 8


def test_an_encoder_that_is_gone_leaves_a_dash(shop, stores, tmp_path, caplog):
    shutil.copytree(stores / "title", tmp_path / "title")
    facts = json.loads((tmp_path / "title/store.json").read_text())
    facts["source"] = str(tmp_path / "gone")
    (tmp_path / "title/store.json").write_text(json.dumps(facts))
    shutil.copytree(stores / "image", tmp_path / "image")
    config = on_stores(shop, tmp_path, "title", "image")
    found = StoreCosts(1).of(config)
    assert "gone" in found["title"]["missing"]
    assert found["image"]["flops"] > 0
    assert "title is not measured" in caplog.text


def test_encoders_are_summed_only_where_all_are_known(sweep, monkeypatch):
    known = {"parameters": 10, "flops": 2e6, "ms": 1.0, "ms_spread": 0.1}
    for encoders, flops in (
        ({"title": known, "image": {**known, "ms_spread": 0.3}}, 4e6),
        ({"title": known, "image": {"missing": "it is gone"}}, None),
    ):
        monkeypatch.setattr(StoreCosts, "of", lambda self, config, x=encoders: x)
        (row,) = bench_cost(*sweep, only=["text"], rounds=1).values()
        assert row["encoder_flops"] == flops
        assert row["encoder_ms_spread"] == (0.1 if flops is None else 0.3)
        around = {"rounds": 7, "threads": "", "load": 0.0, "load_after": 0.0}
        text = cost_markdown({"a": row, **around, "cores": 2, "noisy": False})
        cells = text.splitlines()[4].split(" | ")[5:8]
        assert cells == (["–"] * 3 if flops is None else ["20", "4.00", "2.00"])


def test_streams_that_share_an_encoder_have_its_parameters_once(
    sweep, shop, stores, tmp_path, monkeypatch
):
    """FLOPs and time are summed: every stream is encoded."""
    shutil.copytree(stores / "title", tmp_path / "brand")
    config = on_stores(shop, stores, "title", "image").unlock()
    config.model.modalities = ("title", "brand", "image")
    config.data.features.brand = str(tmp_path / "brand")
    known = {"flops": 2e6, "ms": 1.0, "ms_spread": 0.1}
    sizes = {"title": 10, "brand": 10, "image": 5}
    encoders = {m: {**known, "parameters": size} for m, size in sizes.items()}
    monkeypatch.setattr(StoreCosts, "of", lambda self, config: encoders)
    monkeypatch.setattr("hsjax.benchmarks.cost.stores_of", lambda _: stores_of(config))

    def parameters():
        (row,) = bench_cost(*sweep, only=["text"], rounds=1).values()
        assert row["encoder_flops"] == 6e6
        assert row["encoder_ms"] == 3
        return row["encoder_parameters"]

    assert parameters() == 15
    # of one file a text and an image tower are two, and so are those of two files
    facts = json.loads((tmp_path / "brand/store.json").read_text())
    weights = store_facts(stores / "image")["weights"]
    (tmp_path / "brand/store.json").write_text(json.dumps(facts | {"weights": weights}))
    assert parameters() == 25


def test_mistakes_end_in_a_sentence(sweep):
    path, root = sweep
    runs = read_runs(path)
    with pytest.raises(ConfigError, match=r"'txt' is no row\. Did you mean 'text'\?"):
        first_trained(runs, root, ["txt"])
    with pytest.raises(ConfigError, match="no run of the list is trained"):
        first_trained(runs, root, ["never"])
    taken = [run._replace(row="load") for run in runs]
    with pytest.raises(ConfigError, match="'load' needs another name"):
        first_trained(taken, root, [])
