"""How much of a run is spent and what its end will cost: optimizer steps, or minutes.

A budget of minutes counts from the start of the verb to the final save, so the time of the final
evaluation and of the save is measured on the way and kept back. The clock is an argument.
"""

from collections.abc import Callable

from tinygpt.config.train_config import TrainConfig

__all__ = ["Budget"]

_MOST_FOR_EVALUATION = 0.25  # of the minutes; a final evaluation that costs more is cut short ...
_SHORT_EVALUATION = 0.1  # ... to this share
_MOST_ON_THE_WAY = 0.02  # of the minutes, for all evaluations on the way together
_MARGIN = 1.1  # on what the evaluation takes at best; if it takes longer it is cut short
_SECONDS_BETWEEN_SAVES = 60.0
_MOST_FOR_SAVES = 0.05  # of the time, where a save is slow


class Budget:
    """Follows one run; all times are seconds.

    Attributes:
        total_s: the minutes in seconds; None for a budget of steps.
        began_s: time already spent when the training itself began, earlier parts of the run
            included.
        reserve_s: kept back for the end.
        bits_s: part of it for bits per byte; None leaves that figure out.
        samples_s: part of it for the samples.
        step_s, save_s: what a step and a save took; forward_tok_per_s: best speed of an evaluation;
            token_s: what a sampled token takes.
    """

    def __init__(
        self,
        train: TrainConfig,
        clock: Callable[[], float],
        started_s: float,
        *,
        earlier_s: float = 0.0,
        began_s: float | None = None,
    ) -> None:
        self.total_s = None if train.minutes is None else 60 * train.minutes
        self.max_steps = train.max_steps or 0
        self._clock, self._started_s, self._earlier_s = clock, started_s, earlier_s
        self.began_s = self.elapsed_s if began_s is None else began_s
        self.reserve_s = self.step_s = self.save_s = self.token_s = self.samples_s = 0.0
        self.bits_s: float | None = 0.0
        self.forward_tok_per_s: float | None = None

    @property
    def elapsed_s(self) -> float:
        """Time since the start of the verb, earlier parts of the run included."""
        return self._earlier_s + self._clock() - self._started_s

    def now(self) -> float:
        """Return a reading of the clock."""
        return self._clock()

    def share(self, step: int) -> float:
        """Return the share of the training that is done, 0 to 1: what the learning rate follows."""
        if self.total_s is None:
            return min(1.0, step / self.max_steps)
        training_s = self.total_s - self.reserve_s - self.began_s
        if training_s <= 0:
            return 1.0
        return min(1.0, max(0.0, (self.elapsed_s - self.began_s) / training_s))

    def spent(self, step: int) -> bool:
        """Say whether the training is over; it takes one step at least."""
        if self.total_s is None:
            return step >= self.max_steps
        return step > 0 and self.elapsed_s + self.step_s / 2 >= self.total_s - self.reserve_s

    def n_due(self, step: int, n_evals: int) -> int:
        """Return how many of n_evals evenly spread evaluations are due: the first at once."""
        if self.total_s is None:  # whole numbers, so that no rounding moves them
            return min(n_evals, step * n_evals // self.max_steps + 1)
        return min(n_evals, int(self.share(step) * n_evals) + 1)

    def left_s(self, step: int) -> float:
        """Return the time to the end of the run, estimated for a budget of steps."""
        if self.total_s is None:
            return (self.max_steps - step) * self.step_s + self.reserve_s
        return max(0.0, self.total_s - self.elapsed_s)

    def note_step(self, seconds: float) -> None:
        """Take in what a step took; the first one, which warms up, is soon forgotten."""
        self.step_s = 0.7 * self.step_s + 0.3 * seconds if self.step_s else seconds

    def note_forward(self, n_tokens: int, seconds: float) -> None:
        """Take in what an evaluation took. The fastest one counts.

        Too much kept back would end the run early; too little only cuts the last evaluation short.
        """
        if seconds > 0:
            self.forward_tok_per_s = max(self.forward_tok_per_s or 0.0, n_tokens / seconds)

    def plan_end(self, n_val_tokens: int, n_bits_tokens: int, n_sampled: int) -> None:
        """Keep back the time for scoring and sampling so many tokens and for the final save."""
        val_s = n_val_tokens / (self.forward_tok_per_s or float("inf"))
        self.bits_s = n_bits_tokens / (self.forward_tok_per_s or float("inf"))
        if self.total_s is not None and val_s + self.bits_s > _MOST_FOR_EVALUATION * self.total_s:
            self.bits_s = None
            if val_s > _MOST_FOR_EVALUATION * self.total_s:
                val_s = _SHORT_EVALUATION * self.total_s
        self.samples_s = n_sampled * self.token_s
        self.reserve_s = _MARGIN * (val_s + (self.bits_s or 0.0) + self.samples_s) + self.save_s

    def over(self, leave_s: float = 0.0) -> bool:
        """Say whether the minutes are over, the final save and `leave_s` more kept back."""
        return self.total_s is not None and (self.elapsed_s + self.save_s + leave_s >= self.total_s)

    def affordable_tokens(self, n_evals: int) -> float:
        """Return how many tokens each evaluation on the way may score."""
        if self.total_s is None or self.forward_tok_per_s is None:
            return float("inf")
        return _MOST_ON_THE_WAY * self.total_s * self.forward_tok_per_s / max(1, n_evals)

    def save_due(self, since_s: float) -> bool:
        """Say whether the last save, `since_s` seconds ago, is long enough ago for another."""
        return since_s >= max(_SECONDS_BETWEEN_SAVES, self.save_s / _MOST_FOR_SAVES)
