"""ServeConfig: where `tinygpt serve` listens and how much it lets one client or all of them ask.

Its fields are options of the verb. Standard library only.
"""

import ipaddress
import re
from dataclasses import dataclass, field

from tinygpt.config.schema import check_types
from tinygpt.errors import ConfigError

__all__ = ["ServeConfig", "is_loopback"]

MAX_SLOTS, MAX_WAITING = 256, 10_000
LONGEST_S = 24 * 60 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """Where a server listens, and its bounds."""

    host: str = "127.0.0.1"
    """The address to listen on; any but this machine's own needs a key."""
    port: int = 8000
    """The port; 0 takes a free one and says which."""
    allow_host: tuple[str, ...] = ()
    """A further name by which browsers may call the server, e.g. of a proxy in front of it."""
    slots: int = 8
    """Texts that a model writes at once; each takes memory for a full context."""
    max_waiting: int = 64
    """Texts that may wait for a slot; more are answered 503."""
    max_waiting_per_client: int = 32
    """Texts of one client's address that may wait; more are answered 429."""
    max_tokens: int = 2048
    """Largest max_tokens of a request."""
    timeout_s: float = 120.0
    """Seconds that a request may wait and run; then its text ends as it is."""
    drain_s: float = 30.0
    """Seconds that texts may go on after SIGTERM or Ctrl-C before they are cut off."""
    runs: str = "runs"
    """The folder whose runs the page shows."""
    key: str | None = field(default=None, repr=False)
    """What every request must carry as its bearer token; None lets everyone in."""

    def __post_init__(self) -> None:
        """Refuse impossible settings, and to serve other machines without a key."""
        check_types(self)
        _refuse_outside("port", self.port, 0, 65535)
        _refuse_outside("slots", self.slots, 1, MAX_SLOTS)
        _refuse_outside("max_waiting", self.max_waiting, 1, MAX_WAITING)
        _refuse_outside("max_waiting_per_client", self.max_waiting_per_client, 1, MAX_WAITING)
        _refuse_outside("max_tokens", self.max_tokens, 1, 1_000_000)
        for name in ("timeout_s", "drain_s"):
            if not 0 < getattr(self, name) <= LONGEST_S:
                raise ConfigError(
                    f"{name}={getattr(self, name)} is not allowed: above 0, at most {LONGEST_S}"
                )
        for name in self.allow_host:
            if not _is_name(name):
                raise ConfigError(
                    f'allow_host="{name[:100]}" is not allowed: a name alone, as '
                    "models.example.org, without http:// and without a port"
                )
        if self.key is not None and not _is_key(self.key):
            raise ConfigError("the key is not allowed: 16 to 1000 printable ASCII characters")
        if self.key is None and not is_loopback(self.host):
            raise ConfigError(
                f"host={self.host[:100]} reaches other machines, and whoever calls it may use the "
                "models: set a key in TINYGPT_API_KEY or --key-file, or listen on 127.0.0.1"
            )


def is_loopback(host: str) -> bool:
    """Tell whether an address is this machine's own; a name other than localhost is not."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_name(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", name) is not None


def _is_key(key: str) -> bool:
    return 16 <= len(key) <= 1000 and key.isascii() and key.isprintable()


def _refuse_outside(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ConfigError(f"{name}={value} is not allowed: {least} to {most:,}")
