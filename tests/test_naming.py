"""Names of clusters from titles: what tells them apart, and never the same twice."""

from hsjax.recategorize.naming import names_of, typical_words

TITLES = {
    "1": ["Nike men running shoes", "Puma men running shoes", "Fila running shoes 12"],
    "2": ["Women red heels", "Women high heels", "Catwalk women heels"],
    "3": ["", "  ", ""],
}


def test_words_of_a_cluster_are_those_that_its_siblings_lack():
    words = typical_words(TITLES)
    assert words["1"][0] in ("running shoes", "running", "shoes")
    assert {"running", "shoes"} <= {w for x in words["1"] for w in x.split()}
    assert "heels" in words["2"][0] or "heels" in words["2"][1]
    assert words["3"] == []
    assert not any("12" in word for word in words["1"])


def test_a_word_that_siblings_have_as_often_tells_nothing():
    both = {"1": ["black shoes", "black boots"], "2": ["black bag", "black belt"]}
    assert not any(
        w == "black" for found in typical_words(both).values() for w in found
    )


def test_a_rare_word_is_no_name():
    titles = {"1": ["loafer"] * 60 + ["acme loafer"], "2": ["boot"] * 10}
    assert "acme" not in " ".join(typical_words(titles)["1"])


def test_one_cluster_has_its_commonest_words():
    assert typical_words({"1": ["red shoes", "blue shoes"]})["1"][0] == "shoes"


def test_titles_without_a_word_give_none():
    assert typical_words({"1": ["12 34"], "2": ["the of"]}) == {"1": [], "2": []}


def test_names_differ_and_are_short():
    words = {"1": ["running shoes", "men"], "2": ["running shoes", "women"], "3": []}
    names = names_of(words, most=3)
    assert len(set(names.values())) == 3
    assert names["1"] == "running shoes"
    assert names["2"] == "running shoes women"
    assert names["3"].startswith("group")
    assert all(len(name.split()) <= 3 for name in names.values())
    assert names_of({"1": ["Boots"]}, most=2, taken=["boots"])["1"] != "Boots"
    # one word tells little where there is more to say
    more = {"1": ["men", "formal shoes", "black"], "2": ["women"]}
    assert names_of(more, most=3) == {"1": "men formal shoes", "2": "women"}
    assert names_of(more, most=1) == {"1": "men", "2": "women"}


def test_a_pair_says_more_only_if_its_first_word_does():
    titles = {
        "1": [f"acme boots {i}" for i in "abcdefgh"],
        "2": [f"acme red bags {i}" for i in "abcdefgh"],
    }
    words = typical_words(titles)
    assert words["1"] == ["boots"], "all have the maker"
    assert words["2"][0] == "red bags"


def test_a_name_never_holds_the_separator_of_paths():
    words = {"1": ["t-shirt men"], "2": ["t-shirt"]}
    assert names_of(words, most=3)["2"] == "t-shirt"
    names = names_of(words, most=3, separator="-")
    assert names == {"1": "t shirt men", "2": "t shirt"}
    assert names_of(words, most=3, separator=" - ")["2"] == "t-shirt"
