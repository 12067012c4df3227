"""Table III's linear map of titles with a frozen MiniLM in the loop: texts may vary.

--config.data.path=.../shops.parquet --config.model.text.published=encoders/minilm, and
--config.data.text.word_drop=0.4 or --config.data.text.name_drop=0.5; what is lost is
drawn anew in each epoch, so that nothing is cached. The rows are those of
paper_b_transfer.jsonl.
"""

from ml_collections import ConfigDict

from configs.fashion import shops


def get_config() -> ConfigDict:
    config = shops.get_config()
    config.data.features.title = ""
    config.data.features.image = ""
    config.model.modalities = ("title",)
    config.model.text.published = ""  # to be given
    config.model.text.bag, config.model.text.dropout = 0, 0.0
    config.model.fusion.kind = "concat"
    config.model.head.kind, config.model.head.feed = "flat", "none"
    config.model.head.norm = "none"
    config.model.head.width, config.model.head.level_width = 0, 0
    config.optim.rules = (("text/.*", 0.0, False), *config.optim.rules)
    config.train.epochs = 2.0
    return config
