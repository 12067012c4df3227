"""Names for clusters: words that their titles have and their siblings' have not."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Shaped

SHOWN = 8  # typical words of a cluster
MORE = 1.25  # times as often as in its siblings' titles is typical
LEAST = 0.05  # share of a cluster's titles that a typical word is in
MIN_WORDS = 2  # of a name, where there are so many
PAIR = 1.5  # "sports shoes", in a third of the titles, says more than "white" in a half
TOKEN = r"(?u)\b[^\W\d_][\w'-]+\b"  # words of two letters or more, no bare numbers


def typical_words(
    texts: Mapping[str, Sequence[str]], *, count: int = SHOWN
) -> dict[str, list[str]]:
    """Of each cluster the words that tell it from its siblings, the best first.

    Class-based TF-IDF (Grootendorst 2022, https://arxiv.org/abs/2203.05794) of words
    and pairs of words:

        W(t, c) = tf(t, c) log(1 + A / f(t))

    tf is the share of the cluster's titles with t, f(t) that of all siblings' titles
    with it, summed over clusters of equal weight, and A the number of clusters. A word
    in fewer than 5 % of the titles, such as a brand, is none, and neither is one that
    the siblings have nearly as often. Pairs whose first word is typical count 1.5
    times, as a name rather is `sports shoes` than `white`; one whose second word alone
    is typical is none, and words that stand in a pair further up are left out.

    Args:
      texts: cluster -> titles; '' counts as a title without words.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    names = [name for name, own in texts.items() if any(t.strip() for t in own)]
    found = {name: [] for name in texts}
    if not names:
        return found
    vectorizer = CountVectorizer(
        binary=True, ngram_range=(1, 2), token_pattern=TOKEN, stop_words="english"
    )
    try:
        vectorizer.fit(t for name in names for t in texts[name])
    except ValueError:  # titles of numbers and stop words alone
        return found
    shares = [vectorizer.transform(texts[name]).mean(axis=0) for name in names]
    words = vectorizer.get_feature_names_out()
    weights = _weights(np.concatenate([np.asarray(x) for x in shares]), words)
    length = [len(word.split()) for word in words]
    for name, row in zip(names, weights, strict=True):
        # of equals the single word
        order = [i for i in np.lexsort((length, -row)) if row[i] > 0]
        found[name] = _without_parts([str(words[i]) for i in order])[:count]
    return found


def _weights(
    shares: Float[np.ndarray, "K W"], words: Shaped[np.ndarray, "W"]
) -> Float[np.ndarray, "K W"]:
    """W(t, c) of shares of titles with each word; 0 of what is not typical."""
    count, total = len(shares), shares.sum(axis=0)
    typical = shares >= LEAST
    weights = shares.copy()
    if count > 1:
        typical &= shares > MORE * (total - shares) / (count - 1)
        weights *= np.log1p(count / np.maximum(total, 1e-12))
    place = {word: i for i, word in enumerate(words.tolist())}
    for i, word in enumerate(words.tolist()):
        first, _, second = word.partition(" ")
        if second:
            new, alone = typical[:, place[first]], typical[:, place[second]]
            # where all siblings have the first word, the second says as much alone
            weights[:, i] *= np.where(new, PAIR, np.where(alone, 0.0, 1.0))
    return np.where(typical, weights, 0)


def _without_parts(words: list[str]) -> list[str]:
    """Without single words that stand in a pair further up, and pairs that repeat two
    words further up."""
    kept: list[str] = []
    for word in words:
        parts = set(word.split())
        said = {part for other in kept for part in other.split()}
        if not parts <= said:
            kept.append(word)
    return kept


def names_of(
    words: Mapping[str, Sequence[str]],
    *,
    most: int,
    taken: Sequence[str] = (),
    separator: str = "",
) -> dict[str, str]:
    """A name for each cluster, different from its siblings': typical words joined.

    Of two words or more, where there are as many: `men formal shoes` tells more than
    `men`.

    Args:
      words: cluster -> its typical words, siblings alone.
      most: words of a name at most.
      taken: names that are already there.
      separator: of the tree's paths, which no name may have in it: a space instead.
    """
    apart = separator or " "
    names, used = {}, {name.casefold() for name in taken}
    for number, (cluster, own) in enumerate(words.items(), 1):
        parts = [word.replace(apart, " ").split() for word in own]
        numbers = range(number, number + len(used) + 2)
        names[cluster] = next(
            name
            for name in (*_joined(parts, most), *(f"group {i}" for i in numbers))
            if name.casefold() not in used
        )
        used.add(names[cluster].casefold())
    return names


def _joined(words: Sequence[Sequence[str]], most: int) -> list[str]:
    """Names to choose from, the shortest first: words once each, at most so many."""
    single = list(dict.fromkeys(part for word in words for part in word))
    enough = min(MIN_WORDS, most, len(single))
    found = []
    for length in range(1, len(words) + 1):
        parts = dict.fromkeys(part for word in words[:length] for part in word)
        if len(parts) >= enough:
            found.append(" ".join([*parts][:most]))
    return found
