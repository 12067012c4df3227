"""The built-in synthetic catalogue: text + image to HS codes on a laptop."""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.columns.text = ("title", "brand")
    config.data.image.size = (32, 32)
    config.data.text.length = 24
    config.data.text.vocab_size = 1000
    config.train.epochs = 10.0
    return config
