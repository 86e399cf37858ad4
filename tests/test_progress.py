"""One progress type: a part tells its own 0 to 1 as a share of the whole."""

import pytest

from tinygpt.progress import Progress


def test_a_part_of_a_part_tells_its_share_of_the_whole() -> None:
    told = []
    whole = Progress(lambda what, share: told.append((what, share)))
    half = whole.part(0.5, 0.5)
    whole("reading", 0.1)
    half("scoring", 0.5)
    half.part(0.5, 0.2).named("drawing")(1.0)
    assert [what for what, _ in told] == ["reading", "scoring", "drawing"]
    assert [share for _, share in told] == pytest.approx([0.1, 0.75, 0.85])


def test_nobody_need_listen() -> None:
    Progress().part(0.0, 0.5)("reading", 1.0)
