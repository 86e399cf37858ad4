"""Files that are whole or not there, downloads that are checked, and the place of the cache.

In: bytes and where they belong, or a URL or package with its SHA-256. Out: a file on the disk, or a
MachineError and nothing half done. Knows nothing of models. Open files.py first.
"""
