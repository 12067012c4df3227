"""H&M in Myntra's label space: title, description, image; unknown below early ends.

--config.data.path=.../hm.parquet
"""

from ml_collections import ConfigDict

from configs.fashion import myntra


def get_config() -> ConfigDict:
    config = myntra.get_config()
    config.data.columns.text = ("title", "description")
    config.data.text.streams.title = ("title", "description")
    config.data.text.length = 48
    return config
