"""The model that a request names, or a refusal that says which there are."""

from collections.abc import Mapping

from tinygpt.errors import did_you_mean
from tinygpt.serve.refusals import Refusal
from tinygpt.serve.served import Served

__all__ = ["find"]


def find(models: Mapping[str, Served], name: str | None) -> Served:
    """Return the model of a name; the only one, where a request leaves the name out.

    Raises:
        Refusal: 404, none is called so; 400, no name and several models.
    """
    if name is None and len(models) == 1:
        return next(iter(models.values()))
    if name is None:
        raise Refusal(400, f"model is missing: one of {', '.join(models)}", param="model")
    if name not in models:
        near = did_you_mean(name, models)
        raise Refusal(
            404,
            f'there is no model "{name[:200]}"{near} (served: {", ".join(models)})',
            param="model",
            code="model_not_found",
        )
    return models[name]
