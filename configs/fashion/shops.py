"""Paper B's Table III: two shops in one label space, one to train on, one to test on.

--config.data.path=.../shops.parquet, which README.md makes of Myntra and H&M;
--config.data.split.test_platforms="('myntra',)" for the other way. The title is
followed by the description, where there is one; there is no brand, which a shop has for
itself. Features as of myntra_features.py, from this config.
"""

from ml_collections import ConfigDict

from configs.fashion import paper_b


def get_config() -> ConfigDict:
    return on_shops(paper_b.get_config())


def on_shops(config: ConfigDict) -> ConfigDict:
    """The same config on the shops' catalogue and features."""
    config.data.columns.text = ("title", "description")
    config.data.text.streams.title = ("title", "description")
    config.data.text.lengths.title = 48
    config.data.features.title = "features/shops_title"
    config.data.features.image = "features/shops_image"
    config.data.split.by = "platform"
    config.data.split.test_platforms = ("hm",)
    config.model.modalities = ("title", "image")
    return config
