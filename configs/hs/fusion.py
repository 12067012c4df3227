"""Paper A's B4: text and image side by side, without the contrastive loss.

--config.data.path=CATALOGUE, with columns as in joint.py
"""

from ml_collections import ConfigDict

from configs.hs import joint


def get_config() -> ConfigDict:
    config = joint.get_config()
    config.objective.contrastive = 0.0
    return config
