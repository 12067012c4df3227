"""HS codes of goods from text alone, as goods.py, with MiniLM's upper layers trained.

--config.model.text.published=encoders/minilm, the store of labels as in goods.py
"""

from ml_collections import ConfigDict

from configs.hs import goods


def get_config() -> ConfigDict:
    config = goods.get_config()
    del config.data.features.goods
    config.data.text.length = 48
    config.data.text.word_drop = 0.5
    config.data.batch_size = 128
    config.model.text.published = ""  # to be given
    upper, rest = r"text/layer[345]/.*", r"text/.*"
    config.optim.rules = (
        (upper + "(bias|scale)", 0.2, False),
        (upper, 0.2, True),
        (rest, 0.0, False),
        *config.optim.rules,
    )
    return config
