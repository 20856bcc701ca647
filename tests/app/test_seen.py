from hypothesis import given
from hypothesis import strategies as st

from tandem.carriers.seen import Seen


def test_a_repeat_is_no_news_until_it_is_forgotten() -> None:
    seen = Seen(10, 100)
    assert seen.is_news("a", 0)
    assert not seen.is_news("a", 9.9)
    assert "a" in seen
    assert seen.is_news("a", 10), "remembered since the first time"
    assert not seen.is_news("a", 19)


def test_bounded_the_oldest_goes_first() -> None:
    seen = Seen(1000, 3)
    for name in "abcd":
        assert seen.is_news(name, 0)
    assert len(seen) == 3
    assert "a" not in seen
    assert not seen.is_news("d", 1)


@given(st.lists(st.sampled_from("abc"), max_size=50))
def test_each_is_news_once(names: list[str]) -> None:
    seen = Seen(1000, 100)
    assert [name for name in names if seen.is_news(name, 0)] == list(dict.fromkeys(names))
