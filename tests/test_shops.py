"""The configs of real shops on some rows of each: from the file to the report."""

import json

import pytest
from runs import SMALL, train_run
from test_real_trees import real_file

from configs.fashion import flipkart, grocery, hm, myntra
from hsjax.data.prepare import read_catalogue

SHOPS = {"myntra": myntra, "hm": hm, "flipkart": flipkart, "grocery": grocery}
# what is tiny of the model alone: columns, levels and streams are those of the shop
TINY = {k: v for k, v in SMALL.items() if k.split(".")[0] in ("model", "eval")}
TINY |= {"data.batch_size": 16, "data.text.vocab_size": 300}
TINY |= {"train.steps": 5, "train.eval_every": 5, "train.tensorboard": False}
TINY |= {"train.compile_cache": SMALL["train.compile_cache"]}


def shop_config(name, rows):
    config = SHOPS[name].get_config()
    path = str(real_file(f"{name}.parquet"))
    config.update_from_flattened_dict({**TINY, "data.path": path, "data.rows": rows})
    return config.lock()


ONE = "flipkart"  # the others take as long and show the same


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [x if x == ONE else pytest.param(x, marks=pytest.mark.slow) for x in SHOPS],
)
def test_a_shop_goes_from_its_file_to_its_report(name, tmp_path):
    # Grocery's official parts are sorted: only some thousand rows have all of them
    config = shop_config(name, 4000 if name == "grocery" else 400)
    told = train_run(config, tmp_path)
    document = json.loads((tmp_path / "report.json").read_text())
    levels = len(config.data.columns.label)
    assert f"level{levels}/accuracy" in document["metrics"]
    assert document["metrics"]["count/rows"] > 20
    assert "# Report" in told


@pytest.mark.parametrize("name", SHOPS)
def test_groups_are_products_and_no_classes(name):
    catalogue = read_catalogue(shop_config(name, 1500))
    classes = len({record.path for record in catalogue.records})
    facts = catalogue.facts()
    assert facts["groups"] > 2 * classes
    assert facts["groups in more than one part"] == 0
    assert facts["rows of the largest group"] < 0.05 * len(catalogue.records)
