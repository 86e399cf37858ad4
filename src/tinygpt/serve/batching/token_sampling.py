"""The next ids of several jobs: in the engine where it samples, else from its logits.

Either way `sampling.next_id` says what is drawn, so a job's text depends on nobody else. One id at
a time: a job that leaves is gone before the next step.
"""

from collections.abc import Iterable, Sequence

from tinygpt.model.session import DecodeSession, SamplingSession
from tinygpt.serve.batching.sequence import Writing

__all__ = ["draw"]


def draw(session: DecodeSession, writing: Sequence[Writing]) -> dict[Writing, int | Exception]:
    """Choose the next id of each job; or say why there is none, which is that job's fate alone."""
    found: dict[Writing, int | Exception] = {}
    if isinstance(session, SamplingSession):
        for group in _groups(writing):
            found |= _draw_inside(session, group)
    for one in writing:
        if one not in found:
            assert one.slot is not None
            try:
                found[one] = one.draw(session.logits(one.slot))
            except Exception as error:  # whatever it is, the others go on
                found[one] = error
    return found


def _groups(writing: Sequence[Writing]) -> list[list[Writing]]:
    """Return who is drawn for inside, call by call: the greedy, and samples if all are of one way.

    Each call reads the head's weights anew, which costs more than to draw from logits here.
    """
    groups: dict[tuple[object, ...], list[Writing]] = {}
    for one in writing:
        if one.is_plain:
            groups.setdefault(_way(one), []).append(one)
    sampled = [way for way in groups if len(way) > 1]
    return [group for way, group in groups.items() if way not in sampled or len(sampled) == 1]


def _way(one: Writing) -> tuple[object, ...]:
    """Return what jobs have in common that are drawn for in one call."""
    g = one.job.generation
    if g.temperature == 0:
        return (g.repetition_penalty,)
    return g.temperature, g.top_k, g.top_p, g.min_p, g.repetition_penalty, one.job.seed


def _draw_inside(
    session: SamplingSession, group: Iterable[Writing]
) -> dict[Writing, int | Exception]:
    """Draw for jobs of one way; each for itself where they can't be drawn for together."""
    group = sorted(group, key=lambda one: one.slot or 0)
    first = group[0].job
    try:
        rows = session.decode(
            [one.slot for one in group if one.slot is not None],
            1,
            first.generation,
            seed=first.seed,
            sample_indices=[one.job.sample_index for one in group],
            drawn=[one.n_new for one in group],
            seen=[one.seen for one in group],
        )
    except Exception as error:
        if len(group) == 1:
            return {group[0]: error}
        alone = (_draw_inside(session, [one]) for one in group)
        return {one: new for found in alone for one, new in found.items()}
    for one in group:
        one.skip_draw()
    return {one: row[0] for one, row in zip(group, rows, strict=True)}
