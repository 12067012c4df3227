"""Myntra, three levels, from scratch on 2 cores: title + image.

python -m hsjax.main --config=configs/fashion/myntra.py
    --config.data.path=.../myntra.parquet --workdir=runs/myntra

33 minutes on 2 CPU cores. Test part, level 3, 3 seeds: accuracy 0.968 (0.969 of bare
names), hF1 0.985, macro F1 of classes with 5 rows or more 0.938; with every title word
lost with probability 0.5 hF1 0.948. Text only, --config.model.modalities="('title',)"
--config.objective.contrastive=0: 0.965, 0.983, 0.935 and 0.799.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.path = ""  # to be given
    config.data.columns.id = "id"
    config.data.columns.image = "image"
    config.data.columns.label = ("level1", "level2", "level3")
    config.data.columns.label_kind = "levels"
    config.data.columns.group = "group"
    config.data.columns.platform = "platform"
    config.data.batch_size = 64
    config.data.text.length = 24
    config.data.text.vocab_size = 8000
    config.data.text.word_drop = 0.4
    config.data.image.resize, config.data.image.size = (72, 54), (64, 48)
    config.model.text.bag = 128
    config.model.image.stages = (1, 2, 1)
    config.model.image.widths = (48, 96, 192)
    config.model.image.norm = "batch"  # learns faster from scratch than "group"
    config.model.modality_dropout = 0.2
    config.model.head.width = 0
    config.objective.contrastive = 0.1
    config.optim.learning_rate = 5e-4
    no_decay, rest = config.optim.rules
    config.optim.rules = (no_decay, ("image.*", 2.0, True), rest)  # a slower learner
    config.train.epochs = 20.0
    config.train.ema = 0.999
    return config
