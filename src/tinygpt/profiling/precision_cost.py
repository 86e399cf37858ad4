"""What each precision of the native engine costs: bits per byte of the same text, against torch.

`exact` rounds nothing but sums, so its difference is the order of additions; int8 rounds every
weight to 8 bits, int8-dynamic what they are multiplied with too.
"""

from tinygpt.config.limits import BENCH_BYTES, PRECISIONS
from tinygpt.evaluation.bits_per_byte import evaluate
from tinygpt.evaluation.eval_texts import Text, first_bytes
from tinygpt.evaluation.token_nll import Scorer
from tinygpt.inference.language_model import LanguageModel
from tinygpt.profiling.result import PrecisionCost

__all__ = ["precision_costs"]


def precision_costs(lm: LanguageModel, text: Text) -> tuple[PrecisionCost, ...]:
    """Score the beginning of a text in every precision, where the native engine is asked for.

    Args:
        lm: with real weights.
        text: of which the first 8 KiB are scored; unknown characters are paid for.
    """
    if lm.engine.name != "native" or not lm.engine.asked:
        return ()
    start, escape, found = first_bytes(text.text, BENCH_BYTES), lm.escape, []
    reference = lm.engine.other(engine="torch").model
    exact = evaluate(reference, lm.tokenizer, start, prefix=text.prefix, escape=escape)
    for precision in PRECISIONS:
        session = lm.engine.other(engine="native", precision=precision).session()
        scorer = Scorer(session, lm.config, "native")
        scored = evaluate(scorer, lm.tokenizer, start, prefix=text.prefix, escape=escape)
        found.append(
            PrecisionCost(
                engine=scored.engine,
                bits_per_byte=scored.bits_per_byte,
                difference=scored.bits_per_byte - exact.bits_per_byte,
                n_bytes=scored.n_bytes,
            )
        )
    return tuple(found)
