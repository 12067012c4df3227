"""Paper A's models on cached features of Myntra: MiniLM titles and ResNet-50 pictures.

This is Proposed; the rows of its tables and their seeds stand in paper_a.jsonl, for
launch/sweep.py. The features are those of myntra_features.py.
"""

from ml_collections import ConfigDict

from configs.fashion import myntra_features


def get_config() -> ConfigDict:
    config = myntra_features.get_config()
    config.data.columns.text = ("title",)
    del config.data.text.streams.brand, config.data.features.brand
    config.model.modalities = ("title", "image")
    config.model.modality_dropout = 0.15
    config.objective.contrastive = 0.1  # of .1, .3, 1 and 3 the best in validation
    return config
