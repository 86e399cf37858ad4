"""The folder of packed weights in the cache: whose content a file is of, and what must go.

What a model folder's weights hash to is noted beside the packed files, with the size, times and
number of each weight file, so that 300 MB are hashed once and not at every start.
"""

import contextlib
import hashlib
import json
import os
import re
import threading
import time
from pathlib import Path

from tinygpt.settings import parse_json
from tinygpt.weights import weights_sha256

__all__ = ["MAX_BYTES", "content_hash", "make_room"]

MAX_BYTES = 8 * 2**30
"""What the packed files in the cache may take together; the least recently used go first."""

_NAME = re.compile(r"[0-9a-f]{64}\.packed")
_DAY_S = 86400.0
_RACY_S = 2.0  # a file changed again this soon may keep its time stamps


def content_hash(folder: Path, source: Path) -> str:
    """Return the weights' hash, from a note of an earlier start where no file has changed since."""
    files = sorted([*source.glob("*.safetensors"), *source.glob("pytorch_model*.bin")])
    stats = [(path.name, path.stat()) for path in files]  # symbolic links are followed
    stamp = [
        [name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_dev] for name, s in stats
    ]
    name = hashlib.sha256(str(source.resolve()).encode()).hexdigest()
    note = folder / f"{name}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        known = parse_json(note.read_text("utf-8"))
        if known["files"] == stamp and re.fullmatch("[0-9a-f]{64}", known["sha256"]):
            return str(known["sha256"])
    content = weights_sha256(source)
    newest_s = max((max(s.st_mtime, s.st_ctime) for _, s in stats), default=0.0)
    if newest_s < time.time() - _RACY_S:
        temporary = note.with_name(f".{note.name}.{os.getpid()}.{threading.get_ident()}.tmp")
        with contextlib.suppress(OSError):  # a cache that can only be read serves as it is
            temporary.write_text(json.dumps({"files": stamp, "sha256": content}), "utf-8")
            temporary.replace(note)
    return content


def make_room(newest: Path) -> None:
    """Delete the least recently used packed files beyond MAX_BYTES, and what a killed one left."""
    with contextlib.suppress(OSError):  # another process makes room at the same time
        total, now_s = newest.stat().st_size, time.time()
        stats = {path: path.stat() for path in newest.parent.iterdir() if path.is_file()}
        for path in sorted(stats, key=lambda p: stats[p].st_mtime, reverse=True):
            if _NAME.fullmatch(path.name) and path != newest:
                total += stats[path].st_size
                if total > MAX_BYTES:
                    path.unlink(missing_ok=True)
            elif path.suffix == ".tmp" and stats[path].st_mtime < now_s - _DAY_S:
                path.unlink(missing_ok=True)
