"""Paper A's B3 with a ViT-B/16 shape.

--config.data.path=CATALOGUE, with columns as in joint.py
"""

from ml_collections import ConfigDict

from configs.hs import joint


def get_config() -> ConfigDict:
    config = joint.get_config()
    config.model.modalities = ("image",)
    config.model.modality_dropout = config.objective.contrastive = 0.0
    vit = {"family": "vit", "patch": 16, "width": 768, "depth": 12, "heads": 12}
    config.model.image.update({**vit, "mlp": 3072})
    return config
