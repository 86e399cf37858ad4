"""`tinygpt serve`: models behind OpenAI's completions protocol, and the page that shows them.

In: HTTP requests. Out: completions, token ids, figures. The only wing that speaks HTTP; FastAPI and
what comes with it are the extra `serve`. batching/ computes and knows nothing of HTTP; playground/
is the page. Open app.py first, then completions.py.
"""

import importlib.util

from tinygpt.errors import ConfigError
from tinygpt.serve.config import ServeConfig

__all__ = ["ServeConfig", "require_extra"]


def require_extra() -> None:
    """Refuse to begin where the extra is not installed, with the command that installs it.

    Raises:
        ConfigError: a library is missing.
    """
    missing = [name for name in ("fastapi", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"a server needs {' and '.join(missing)}, which is not installed: "
            'pip install "tinygpt[serve]"'
        )
