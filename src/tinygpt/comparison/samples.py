"""What each model of a comparison writes: the same prompt, seeds, temperature and length for all.

The prompt is the end of the unscored prefix. A temperature is not comparable across vocabularies,
so samples illustrate; they measure nothing.
"""

from tinygpt.comparison.result import Sample
from tinygpt.comparison.training_data import TrainingText, copies
from tinygpt.errors import TinyGPTError
from tinygpt.evaluation.eval_texts import Text
from tinygpt.inference.language_model import LanguageModel

__all__ = ["SAMPLE_CHARACTERS", "SAMPLE_SEEDS", "SAMPLE_TEMPERATURE", "draw_samples"]

SAMPLE_CHARACTERS = 240
SAMPLE_SEEDS = (0, 1)
SAMPLE_TEMPERATURE = 0.8


def draw_samples(
    lm: LanguageModel | None, missing: str | None, text: Text, training: TrainingText | None = None
) -> tuple[Sample, ...]:
    """Continue the last lines before the scored text, the same way for every model.

    Args:
        lm: the model; None where it could not be opened.
        missing: why it can't write; None where it can.
        text: what was scored.
        training: what the model was trained on; None where that is not known.
    """
    lines = (text.prefix[-200:] or text.text[:80]).splitlines(keepends=True)
    prompt = "".join(lines[-2:])[-64:]
    samples = []
    for seed in SAMPLE_SEEDS:
        written, why = None, missing
        if lm is not None and missing is None:
            try:
                written = _continuation(lm, prompt, seed)
            except TinyGPTError as error:  # a character of the prompt that this model lacks
                why = str(error)
        samples.append(
            Sample(
                prompt=prompt,
                seed=seed,
                temperature=SAMPLE_TEMPERATURE,
                text=written,
                missing=why,
                copied=copies(written, training),
            )
        )
    return tuple(samples)


def _continuation(lm: LanguageModel, prompt: str, seed: int) -> str:
    text = ""
    for piece in lm.stream(
        prompt,
        seed=seed,
        temperature=SAMPLE_TEMPERATURE,
        top_k=None,
        top_p=1.0,
        min_p=0.0,
        repetition_penalty=1.0,
        max_new_tokens=4 * SAMPLE_CHARACTERS,  # a BPE token may be a quarter of a character
        truncate_prompt=True,
    ):
        text += piece
        if len(text) >= SAMPLE_CHARACTERS:
            break
    return text[:SAMPLE_CHARACTERS]
