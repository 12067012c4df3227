"""A change of edition, rehearsed on Myntra: half of training has labels of the old one.

python -m hsjax.rehearse --input=.../myntra.parquet
    --change=configs/fashion/editions/change.csv --output=editions

26 leaves change (editions/change.csv): 11 are divided by gender or use, others merged,
some both; 19,428 of 37,285 products are of these. A row whose old code may now be one
of several learns from the set of them. Rows and seeds stand in editions.jsonl: all
labels of the new edition, sets, the most frequent successor of an old code, the new
half alone, and the old edition alone. Validation and test are of the new edition.
Features as of paper_b.py.

Leaf accuracy, 3 seeds: 0.951 with all labels of the new edition, 0.947 with sets.
"""

from ml_collections import ConfigDict

from configs.fashion import paper_b


def get_config() -> ConfigDict:
    config = paper_b.get_config()
    config.data.path = "editions/catalogue.parquet"
    config.data.columns.label = ("label_mixed",)
    config.data.columns.label_kind = "path"
    config.data.columns.edition = "edition"
    config.data.columns.split = "split"
    config.data.split.by = "column"
    config.taxonomy.path = "editions/after.json"
    config.taxonomy.correlation = ("editions/correlation.csv",)
    return config
