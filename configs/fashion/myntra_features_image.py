"""Myntra on cached features of its pictures alone: frozen ResNet-50.

As myntra_features.py, without --config.data.features.title and brand.
"""

from ml_collections import ConfigDict

from configs.fashion import myntra_features


def get_config() -> ConfigDict:
    config = myntra_features.get_config()
    config.model.modalities = ("image",)
    return config
