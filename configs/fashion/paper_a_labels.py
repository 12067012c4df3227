"""Paper A on Myntra with classes as text, for classes that no product shows.

Features as in paper_a.py, and those of the labels by --config.task=extract
--config.extract.modality=labels --config.extract.encoder=encoders/minilm, named in
--config.model.head.labels. --config.data.leave_out="('Footwear',)" hides a class.
"""

from ml_collections import ConfigDict

from configs.fashion import paper_a


def get_config() -> ConfigDict:
    config = paper_a.get_config()
    config.model.head.kind, config.model.head.feed = "flat", "none"
    config.model.head.labels = "features/labels"
    return config
