"""Who gets the next slot: clients take turns, whatever one of them has queued."""

from collections import deque
from collections.abc import Callable, Iterator

from tinygpt.serve.batching.sequence import ActiveSequence

__all__ = ["FairQueue"]


class FairQueue:
    """Jobs without a slot, a row for each client; the first client is the next one's turn."""

    def __init__(self) -> None:
        self._rows: dict[str, deque[ActiveSequence]] = {}

    def __len__(self) -> int:
        """Count all jobs."""
        return sum(len(row) for row in self._rows.values())

    def __iter__(self) -> Iterator[ActiveSequence]:
        """Yield all jobs, client by client."""
        for row in self._rows.values():
            yield from row

    def of(self, client: str) -> int:
        """Count a client's jobs."""
        return len(self._rows.get(client, ()))

    @property
    def clients(self) -> list[str]:
        """Who waits, in the order of their turns."""
        return list(self._rows)

    def push(self, one: ActiveSequence) -> None:
        """Put a job behind its client's others."""
        self._rows.setdefault(one.job.client, deque()).append(one)

    def put_back(self, one: ActiveSequence) -> None:
        """Put a job that gave its slot up before its client's others."""
        self._rows.setdefault(one.job.client, deque()).appendleft(one)

    def pop(self, client: str) -> ActiveSequence:
        """Take a client's first job; its turn comes again after everyone else's."""
        row = self._rows.pop(client)
        one = row.popleft()
        if row:
            self._rows[client] = row
        return one

    def take(self, wanted: Callable[[ActiveSequence], bool]) -> list[ActiveSequence]:
        """Take out all jobs of a kind."""
        taken = [one for one in self if wanted(one)]
        for one in taken:
            row = self._rows[one.job.client]
            row.remove(one)
            if not row:
                del self._rows[one.job.client]
        return taken
