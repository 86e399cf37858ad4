"""Where tinygpt keeps what it can make or fetch again.

Apart from download.py, which needs half of the standard library: what only looks into the cache, a
model's packed weights for one, starts faster.
"""

import os
from pathlib import Path

from tinygpt.errors import MachineError

__all__ = ["cache_dir"]


def cache_dir() -> Path:
    """Return tinygpt's own cache folder (it need not exist yet): XDG_CACHE_HOME/tinygpt.

    Raises:
        MachineError: there is neither an XDG_CACHE_HOME nor a home folder.
    """
    root = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(root):  # the XDG specification: a relative path is ignored
        return Path(root) / "tinygpt"
    try:
        return Path.home() / ".cache" / "tinygpt"
    except RuntimeError:
        raise MachineError("no home folder for the cache; set XDG_CACHE_HOME to a folder") from None
