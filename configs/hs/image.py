"""Paper A's B3: the ResNet-50 shape alone.

--config.data.path=CATALOGUE, with columns as in joint.py
"""

from ml_collections import ConfigDict

from configs.hs import joint


def get_config() -> ConfigDict:
    config = joint.get_config()
    config.model.modalities = ("image",)
    config.model.modality_dropout = config.objective.contrastive = 0.0
    return config
