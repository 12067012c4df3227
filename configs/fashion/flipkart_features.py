"""Flipkart's ragged tree on cached features, with the heads of paper_b.py.

--config.data.path=.../flipkart.parquet; the stores as of myntra_features.py, from this
config: features/flipkart_title and features/flipkart_image. The title is followed by
the description. The rows are those of paper_b_ragged.jsonl.
"""

from ml_collections import ConfigDict

from configs.fashion import flipkart, paper_b


def get_config() -> ConfigDict:
    config = paper_b.get_config()
    config.data = flipkart.get_config().data
    config.data.text.word_drop = 0.0
    config.data.text.lengths.title = 64
    config.data.features.title = "features/flipkart_title"
    config.data.features.image = "features/flipkart_image"
    config.model.modalities = ("title", "image")
    return config
