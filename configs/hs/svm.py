"""Paper A's B1: TF-IDF and a linear SVM over the text.

--config.data.path=CATALOGUE, with columns as in joint.py
"""

from ml_collections import ConfigDict

from configs.hs import joint


def get_config() -> ConfigDict:
    config = joint.get_config()
    config.task = "baseline"
    return config
