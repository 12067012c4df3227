"""Paper B's Table I without weights: a tiny model of the family, from scratch.

--config.model.text.published=configs/fashion/tiny/albert
--config.model.text.random=True, or the same of model.image: see paper_b_flat.jsonl. One
softmax over all leaves.
"""

from ml_collections import ConfigDict

from configs.fashion import myntra


def get_config() -> ConfigDict:
    config = myntra.get_config()
    config.data.batch_size = 128
    config.data.text.word_drop = 0.0
    config.model.text.bag = 0
    config.model.modality_dropout = 0.0
    config.model.head.kind, config.model.head.feed = "flat", "none"
    config.objective.contrastive = 0.0
    config.train.epochs = 8.0
    config.train.ema = 0.0
    return config
