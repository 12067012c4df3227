"""A few labelled products of a new shop: H&M's own test part, after Myntra or alone.

--config.data.path=.../shops_hm.parquet --config.data.shots=5 (of each leaf), and
--config.init_from=WORKDIR of a run of shops.py. The rows are those of
paper_b_few.jsonl, of which --set='{shops}=DIR' says where those of paper_b_shops.jsonl
lie.
"""

from ml_collections import ConfigDict

from configs.fashion import shops


def get_config() -> ConfigDict:
    config = shops.get_config()
    config.data.columns.split = "split"
    config.data.split.by = "column"
    config.data.split.test_platforms = ()
    config.data.batch_size = 32
    config.train.epochs = 40.0
    return config
