"""A change of edition, rehearsed on Myntra: half of training has labels of the old one.

python -m hsjax.rehearse --input=.../myntra.parquet
    --change=configs/fashion/editions/change.csv --output=editions

12 leaves are divided by gender or use, others merged, some both (editions/change.csv);
19,000 of 37,000 products are of classes that change. A row whose old code may now be
one of several learns from the set of them. Rows and seeds stand in editions.jsonl: all
labels of the new edition, none but those of the new half, the most frequent successor.
Validation and test are always of the new edition. Features as of paper_b.py.
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
