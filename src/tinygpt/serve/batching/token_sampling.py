"""The next ids of several jobs: in the engine where it samples, else from its logits.

Either way the rule is `sampling.next_id`, so a job's text depends on nobody else. One id at a time:
a job that leaves is gone before the next step.
"""

from collections.abc import Iterable, Sequence

from tinygpt.model.session import DecodeSession, SamplingSession
from tinygpt.serve.batching.sequence import ActiveSequence

__all__ = ["sample_next"]


def sample_next(
    session: DecodeSession, sequences: Sequence[ActiveSequence]
) -> dict[ActiveSequence, int | Exception]:
    """Choose the next id of each job; or say why there is none, which is that job's fate alone."""
    found: dict[ActiveSequence, int | Exception] = {}
    if isinstance(session, SamplingSession):
        for group in _groups(sequences):
            found |= _sample_in_engine(session, group)
    for one in sequences:
        if one not in found:
            assert one.slot is not None
            try:
                found[one] = one.sample(session.logits(one.slot))
            except Exception as error:  # whatever it is, the others go on
                found[one] = error
    return found


def _groups(sequences: Sequence[ActiveSequence]) -> list[list[ActiveSequence]]:
    """Group the jobs by engine call: greedy ones, and samples if all have one setting.

    Each call reads the head's weights anew, which costs more than to sample from logits here.
    """
    groups: dict[tuple[object, ...], list[ActiveSequence]] = {}
    for one in sequences:
        if one.is_plain:
            groups.setdefault(_setting(one), []).append(one)
    sampled = [key for key in groups if len(key) > 1]
    return [group for key, group in groups.items() if key not in sampled or len(sampled) == 1]


def _setting(one: ActiveSequence) -> tuple[object, ...]:
    """Return the settings that jobs of one engine call share."""
    g = one.job.generation
    if g.temperature == 0:
        return (g.repetition_penalty,)
    return g.temperature, g.top_k, g.top_p, g.min_p, g.repetition_penalty, one.job.seed


def _sample_in_engine(
    session: SamplingSession, group: Iterable[ActiveSequence]
) -> dict[ActiveSequence, int | Exception]:
    """Sample for jobs of one setting; one by one where the call for all fails."""
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
        alone = (_sample_in_engine(session, [one]) for one in group)
        return {one: new for found in alone for one, new in found.items()}
    for one in group:
        one.skip_sample()
    return {one: row[0] for one, row in zip(group, rows, strict=True)}
