"""Every call of every client library gives the vectors of the plain HTTP API, in order, with the prompt that should apply."""
import functools

import pytest
from conftest import KEY, assert_same
from libraries import BUILDERS

# More than any of the clients sends in one request by default, and what clients are known to change on the way.
TEXTS = ["What is the capital of China?", "北京是中国的首都。", "def f(x):\n    return x * 2\n\n", "  spaces around  ", "naïve café 🦙",
         "a \"quoted\" \\ back\\slash", *(f"Sentence number {n} of a longer batch." for n in range(120))]
CALLS = [(name, call) for name, (_, calls) in BUILDERS.items() for call in calls]


@pytest.fixture(scope="session")
def calls_of(keyed):
    return functools.cache(lambda name: BUILDERS[name][0](keyed.url, KEY))


@pytest.fixture(scope="session")
def expected_of(keyed):
    @functools.cache
    def vectors(expected):
        texts = [text.replace("\n", " ") for text in TEXTS] if expected.one_line else TEXTS
        return keyed.vectors(texts, expected.prompt, **dict(expected.fields))

    return vectors


@pytest.mark.parametrize("name", BUILDERS)
def test_the_table_names_each_call(name, calls_of):
    assert set(calls_of(name)) == set(BUILDERS[name][1])


@pytest.mark.parametrize("name,call", CALLS, ids=[f"{name}:{call}" for name, call in CALLS])
def test_vectors_are_those_of_the_api(name, call, calls_of, expected_of, finish):
    few = "text" in call or "query" in call
    texts = TEXTS[:10] if few else TEXTS
    found = finish(calls_of(name)[call](list(texts)))
    assert_same(found, expected_of(BUILDERS[name][1][call])[:len(texts)], f"{name} {call}")
