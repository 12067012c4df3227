"""Table III's text with a frozen MiniLM in the loop, so that training texts may vary.

--config.data.path=.../shops.parquet --config.model.text.published=encoders/minilm, and
--config.data.text.word_drop=0.4 or --config.data.text.name_drop=0.5; pictures stay
cached features. The rows are those of paper_b_transfer.jsonl.
"""

from ml_collections import ConfigDict

from configs.fashion import shops


def get_config() -> ConfigDict:
    config = shops.get_config()
    config.data.features.title = ""
    config.data.text.lengths.title = 24
    config.model.text.published = ""  # to be given
    config.model.text.bag = 0
    config.optim.rules = (("text/.*", 0.0, False), *config.optim.rules)
    config.train.epochs = 6.0
    return config
