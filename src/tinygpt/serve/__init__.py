"""`tinygpt serve`: models behind OpenAI's completions protocol, and the page that shows them.

The only rooms that speak HTTP. FastAPI and what comes with it are the extra `serve`; the batcher,
which computes, knows nothing of them.
"""

from tinygpt.serve.config import ServeConfig

__all__ = ["ServeConfig"]
