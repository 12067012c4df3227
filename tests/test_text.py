"""Texts to tokens: nothing padded means anything, words drop as if never written."""

import dataclasses
import json

import numpy as np
import pytest

from configs.base import get_config
from hsjax.data.corrupt import corrupt_records
from hsjax.data.records import CatalogueError, Record
from hsjax.data.text import stream_texts, tokenize_streams
from hsjax.data.tokenizer_folder import load_tokenizer
from hsjax.data.tokenizer_training import SPECIAL, make_tokenizer, train_tokenizer
from hsjax.data.tokens import drop_tokens, tokenize

CORPUS = [
    "Women's red-blue cotton T-shirt, size 42 / XL",
    "Porcelain coffee cup (350 ml) by Häfele",
    "leather wallet RFID-safe; brown",
    "running shoes for men 10.5 EUR",
    "toy car 1:18 scale £9.99",
]
LENGTH = 48
KINDS = {
    "wordpiece": train_tokenizer(CORPUS, kind="wordpiece", size=90, lowercase=True),
    "cased": train_tokenizer(CORPUS, kind="wordpiece", size=90, lowercase=False),
    "bpe": train_tokenizer(CORPUS, kind="bpe", size=290, lowercase=True),
}
every_kind = pytest.mark.parametrize("tokenizer", KINDS.values(), ids=KINDS)


def record(row, **texts):
    fields = {f.name: "" for f in dataclasses.fields(Record)}
    fields |= {"row": row, "id": str(row), "texts": texts, "image": None}
    fields |= {"path": (), "admissible": (), "complete": True, "extra": {}}
    return Record(**fields)


def pieces(tokenizer, tokens, row=0):
    return [tokenizer.id_to_token(i) for i in tokens.ids[row][tokens.mask[row]]]


@every_kind
def test_special_tokens_come_first_in_the_vocabulary_and_around_a_text(tokenizer):
    assert [tokenizer.token_to_id(t) for t in SPECIAL] == list(range(len(SPECIAL)))
    tokens = tokenize(tokenizer, CORPUS, LENGTH)
    for row in range(len(CORPUS)):
        found = pieces(tokenizer, tokens, row)
        assert (found[0], found[-1]) == ("[CLS]", "[SEP]")
        assert not set(found[1:-1]) & set(SPECIAL), (
            "the corpus is in its own vocabulary"
        )
        used = int(tokens.mask[row].sum())
        assert tokens.mask[row, :used].all()
        assert not tokens.ids[row, used:].any()
        assert (tokens.words[row, used:] == -1).all()


@every_kind
def test_truncation_keeps_the_first_tokens_and_sep(tokenizer):
    whole = tokenize(tokenizer, CORPUS[:1], LENGTH)
    assert whole.mask.sum() < LENGTH
    for length in range(3, int(whole.mask.sum()) + 1):
        short = tokenize(tokenizer, CORPUS[:1], length)
        assert short.ids.shape == (1, length)
        assert short.mask.all()
        found = pieces(tokenizer, short)
        assert found[-1] == "[SEP]"
        assert found[:-1] == pieces(tokenizer, whole)[: length - 1]


@every_kind
@pytest.mark.parametrize("text", ["", "   ", "\t\n"])
def test_an_empty_text_has_no_token(tokenizer, text):
    tokens = tokenize(tokenizer, [text, "shoes"], LENGTH)
    assert tokens.mask.any(axis=1).tolist() == [False, True]
    assert not tokens.ids[0].any()


@pytest.mark.parametrize("kind", ["wordpiece", "cased"])
def test_a_text_that_the_tokenizer_reduces_to_nothing_has_no_token(kind):
    tokens = tokenize(KINDS[kind], ["\u200b", "\x00\x7f"], LENGTH)
    assert not tokens.mask.any()


@every_kind
def test_tokens_know_their_whitespace_word(tokenizer):
    text = "Red-blue  cup, 350ml \u00e9t\u00e9"
    tokens = tokenize(tokenizer, [text], LENGTH)
    words = text.split()
    for number, word in enumerate(words):
        alone = tokenize(tokenizer, [word], LENGTH)
        mine = tokens.ids[0][tokens.words[0] == number].tolist()
        body = alone.ids[0][alone.mask[0]][1:-1].tolist()
        assert mine[-len(body) :] == body
    assert set(tokens.words[0].tolist()) == {-1, *range(len(words))}


def words_one_by_one(tokenizer, text, length):
    """(length,) as `Tokens.words`, a token and a character at a time."""
    numbers, count, between = [], -1, True
    for c in text:
        count += between and not c.isspace()
        between = c.isspace()
        numbers.append(count + between)
    numbers = np.minimum(numbers, count)
    tokenizer.enable_truncation(length)
    encoding = tokenizer.encode(text)
    tokenizer.no_truncation()
    words = np.full(length, -1)
    if not all(encoding.special_tokens_mask) and text.strip():
        for i, (start, end) in enumerate(encoding.offsets):
            if end > start and not encoding.special_tokens_mask[i]:
                words[i] = numbers[start:end].max()
    return words


@every_kind
def test_words_of_tokens_are_those_found_one_by_one(tokenizer, monkeypatch):
    monkeypatch.setattr("hsjax.data.tokens.TEXTS_AT_ONCE", 7)
    rng = np.random.default_rng(0)
    letters = np.array([*"ab-,\u00e9\u0301\U0001f600\u200b \t\u2003\u3000\x1c\x85"])
    texts = ["".join(rng.choice(letters, n)) for n in rng.integers(0, 40, 60)]
    for length in (5, LENGTH):
        tokens = tokenize(tokenizer, [*CORPUS, *texts], length)
        expected = [words_one_by_one(tokenizer, t, length) for t in [*CORPUS, *texts]]
        np.testing.assert_array_equal(tokens.words, expected)
    assert tokenize(tokenizer, [], 5).ids.shape == (0, 5)


@every_kind
def test_dropping_tokens_equals_tokenizing_the_text_without_the_words(tokenizer):
    rng = np.random.default_rng(0)
    words = " ".join(CORPUS).split()
    texts = [" ".join(rng.choice(words, rng.integers(1, 9))) for _ in range(40)]
    keep = rng.random((len(texts), 9)) >= 0.4
    kept = [
        " ".join(w for w, k in zip(t.split(), row, strict=False) if k)
        for t, row in zip(texts, keep, strict=True)
    ]
    dropped = drop_tokens(tokenize(tokenizer, texts, 80), keep)
    expected = tokenize(tokenizer, kept, 80)
    assert expected.mask.sum(axis=1).max() < 80, "nothing is truncated"
    assert "" in kept
    np.testing.assert_array_equal(dropped.ids, expected.ids)
    np.testing.assert_array_equal(dropped.mask, expected.mask)


def test_words_beyond_the_draws_are_kept():
    tokenizer = KINDS["wordpiece"]
    tokens = tokenize(tokenizer, ["red cotton leather cup"], LENGTH)
    found = drop_tokens(tokens, np.array([[True, False]]))
    expected = tokenize(tokenizer, ["red leather cup"], LENGTH)
    np.testing.assert_array_equal(found.ids, expected.ids)


@every_kind
def test_a_saved_tokenizer_says_the_same(tokenizer, tmp_path):
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    texts = [*CORPUS, "unseen \u4e2d\u6587 \U0001f600 words", ""]
    expected = tokenize(tokenizer, texts, 16)
    for name in (tmp_path, tmp_path / "tokenizer.json"):
        found = tokenize(load_tokenizer(str(name)), texts, 16)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_training_a_tokenizer_is_a_function_of_its_texts():
    config = get_config().data.text
    config.vocab_size = 90
    for _ in range(5):
        again = make_tokenizer(config, iter(CORPUS))
        assert again.to_str() == KINDS["wordpiece"].to_str()
        assert again.get_vocab_size() <= 90
    bpe = train_tokenizer(CORPUS[::-1], kind="bpe", size=290, lowercase=True)
    assert bpe.to_str() == KINDS["bpe"].to_str()
    assert KINDS["cased"].token_to_id("t") != KINDS["cased"].token_to_id("T")
    assert KINDS["wordpiece"].token_to_id("T") is None


def test_unknown_kinds_and_absent_tokenizers_are_refused_in_words(tmp_path):
    with pytest.raises(CatalogueError, match="known: wordpiece, bpe"):
        train_tokenizer(CORPUS, kind="words", size=90, lowercase=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CatalogueError, match="no tokenizer there"):
        load_tokenizer(str(tmp_path / "empty"))


def test_a_tokenizer_that_knows_no_word_is_refused(tmp_path):
    """transformers makes one of config.json alone, and of files of another kind."""
    kinds = {"bert": "spiece.model", "roberta": "vocab.txt", "distilbert": "vocab.json"}
    for kind, other in kinds.items():
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"model_type": kind}))
        (folder / "merges.txt").write_text("#version: 0.2\n")
        with pytest.raises(CatalogueError, match=f"{folder}: no tokenizer there"):
            load_tokenizer(str(folder))
        (folder / "merges.txt").unlink()
        (folder / other).write_text("{}")
        with pytest.raises(CatalogueError, match="no tokenizer there|knows no word"):
            load_tokenizer(str(folder))
    words = [*SPECIAL, "a", "hat"]
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join(words))
    found = tokenize(load_tokenizer(str(tmp_path / "bert")), ["a hat"], 8)
    assert found.ids[0, :4].tolist() == [2, 5, 6, 3]
    (tmp_path / "bert" / "tokenizer.json").write_text("{")
    with pytest.raises(CatalogueError, match=r"tokenizer\.json is no tokenizer"):
        load_tokenizer(str(tmp_path / "bert"))


def test_a_stream_joins_the_columns_that_are_there():
    records = [
        record(1, title="Red cup", brand="Acme"),
        record(2, title="", brand="Acme"),
        record(3, title="", brand=""),
    ]
    assert stream_texts(records, ("title", "brand")) == ["Red cup ; Acme", "Acme", ""]
    tokenizer = KINDS["wordpiece"]
    streams = {"both": ("title", "brand"), "brand": ("brand",)}
    found = tokenize_streams(
        records, tokenizer, streams=streams, lengths={"both": 16, "brand": 5}
    )
    assert found["brand"].ids.shape == (3, 5)
    assert found["both"].mask.any(axis=1).tolist() == [True, True, False]
    alone = tokenize(tokenizer, ["Red cup ; Acme"], 16)
    np.testing.assert_array_equal(found["both"].ids[:1], alone.ids)


def test_corruption_depends_on_seed_and_row_alone():
    records = [record(i, title=" ".join("abcdefgh"), brand="x y") for i in range(200)]
    spec = "word_drop:0.3"
    whole = corrupt_records(records, spec, seed=5)
    assert corrupt_records(records[::-1], spec, seed=5)[::-1] == whole
    assert corrupt_records(records[7:9], spec, seed=5) == whole[7:9]
    assert corrupt_records(records, spec, seed=6) != whole
    left = sum(len(r.texts["title"].split()) for r in whole) / (8 * len(records))
    assert left == pytest.approx(0.7, abs=0.05)
    for r in whole:  # what is left stands in its old order
        assert r.texts["title"].split() == sorted(r.texts["title"].split())
    assert corrupt_records(records, "word_drop:0", seed=5) == records
    gone = corrupt_records(records, "word_drop:1", seed=5)
    assert {t for r in gone for t in r.texts.values()} == {""}


@pytest.mark.parametrize("spec", ["typo:0.5", "word_drop:2", "word_drop:x", ""])
def test_corruptions_that_are_not_understood_are_refused(spec):
    with pytest.raises(CatalogueError, match="not understood"):
        corrupt_records([record(1, title="a")], spec, seed=0)
