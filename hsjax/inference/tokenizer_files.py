"""Files of a tokenizer as transformers reads them."""

import json
from pathlib import Path

from tokenizers import Tokenizer

from hsjax.atomic import write_atomically

PADDING = ("[PAD]", "<pad>", "<|endoftext|>")
# what a tokenizer is told of its special tokens
SPECIAL = {
    "unk_token": ("[UNK]", "<unk>"),
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "mask_token": ("[MASK]", "<mask>"),
}


def write_tokenizer(directory: Path, tokenizer: Tokenizer, *, length: int) -> None:
    """tokenizer.json, and what transformers has to know beside it.

    Args:
      length: tokens of a text, longer ones are cut.
    """
    tokenizer = Tokenizer.from_str(tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(directory / "tokenizer.json"))
    known = tokenizer.get_vocab()
    names = {"pad_token": PADDING} | SPECIAL
    special = {
        kind: next((t for t in tokens if t in known), None)
        for kind, tokens in names.items()
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": length,
        "model_input_names": ["input_ids", "attention_mask"],
        **{kind: token for kind, token in special.items() if token},
    }
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    write_atomically(directory / "tokenizer_config.json", text)
