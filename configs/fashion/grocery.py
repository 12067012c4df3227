"""Grocery Store photographs: image only, as its text is the class name; official split.

python -m hsjax.main --config=configs/fashion/grocery.py
    --config.data.path=.../grocery.parquet --workdir=runs/grocery

Seed 0: whole path 0.470, hF1 0.651.
"""

from ml_collections import ConfigDict

from configs.fashion import myntra


def get_config() -> ConfigDict:
    config = myntra.get_config()
    config.data.columns.text = ()  # or groups of equal titles would be the classes
    config.data.columns.group = ""
    config.data.columns.split = "split"
    config.data.split.by = "column"
    config.model.modalities = ("image",)
    config.objective.contrastive = 0.0
    config.train.epochs = 30.0
    return config
