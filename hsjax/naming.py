"""Names for clusters: words that their titles have and their siblings' have not."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Shaped

SHOWN = 8  # typical words of a cluster
MORE = 1.25  # times as often as in its siblings' titles is typical
LEAST = 0.05  # share of a cluster's titles that a typical word is in
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
    times, as a name rather is `sports shoes` than `white`; words that stand in a pair
    further up are left out.

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
        first, _, rest = word.partition(" ")
        if rest:  # a first word that all siblings have, such as a brand, adds nothing
            weights[:, i] *= np.where(typical[:, place[first]], PAIR, 1.0)
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

    Args:
      words: cluster -> its typical words, siblings alone.
      most: words of a name at most.
      taken: names that are already there.
      separator: of the tree's paths, which no name may have in it: a space instead.
    """
    apart = separator or " "
    names, used = {}, {name.casefold() for name in taken}
    for number, (cluster, own) in enumerate(words.items(), 1):
        for length in range(1, len(own) + 1):
            name = _joined([w.replace(apart, " ") for w in own[:length]], most)
            if name and name.casefold() not in used:
                break
        else:
            name = ""
        if not name or name.casefold() in used:
            name = next(
                n
                for n in (f"group {i}" for i in range(number, number + len(used) + 2))
                if n not in used
            )
        names[cluster] = name
        used.add(name.casefold())
    return names


def _joined(words: Sequence[str], most: int) -> str:
    """Words once each, at most so many."""
    single = list(dict.fromkeys(part for word in words for part in word.split()))
    return " ".join(single[:most])
