"""Access to the hub: a check of at most five seconds whether it answers, and one readable error where it does not."""

import importlib.util
import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from userlib.errors import UserError, first_line

CLIENTS = {"httpx", "httpx2", "requests", "urllib3"}  # HTTP clients of huggingface_hub's versions


def hub_address() -> str:
    """The hub's address: $HF_ENDPOINT or the public one."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def hub_answers(*, seconds: float = 5.0) -> bool:
    """Whether a connection to the hub, or to the proxy on the way to it, can be opened. Sends nothing."""
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in {"1", "TRUE", "YES", "ON"}:
        return False
    parts = urllib.parse.urlsplit(hub_address())
    proxies = urllib.request.getproxies()
    if parts.scheme in proxies and not urllib.request.proxy_bypass(parts.hostname or ""):
        proxy = proxies[parts.scheme]
        parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
    try:
        port = parts.port or (80 if parts.scheme == "http" else 443)
        with socket.create_connection((parts.hostname or "", port), timeout=seconds):
            return True
    except (OSError, ValueError):
        return False


def unusable_proxies() -> dict[str, str]:
    """The environment variables that name a SOCKS proxy, where the package for it is missing: with one of them the
    hub's library fails before it looks into its cache.
    """
    if importlib.util.find_spec("socksio") is not None:
        return {}
    return {
        name: value
        for name, value in os.environ.items()
        if name.lower() in {"all_proxy", "https_proxy", "http_proxy"} and value.lower().startswith("socks")
    }


@contextmanager
def hub_access(what: str, *, also: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Within it, the hub's library uses the network where the hub answers, and only its cache where it does not.

    Raises UserError, which names `what`, where this fails; `also` names further exceptions that count as a failure.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    caught = (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, ConnectionError, *also)
    named = unusable_proxies()
    for name in named:
        del os.environ[name]
    before, answers = constants.HF_HUB_OFFLINE, hub_answers()
    constants.HF_HUB_OFFLINE = before or not answers  # else a missing file costs five retries of 8 seconds
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not isinstance(error, caught) and type(error).__module__.partition(".")[0] not in CLIENTS:
            raise
        own = "or give a local copy; the project's own scenes and networks need no network at all."
        if answers:
            said = first_line(error)
            raise UserError(
                f"Cannot fetch {what}: {hub_address()} answered {said!r}. Try again later, {own}"
            ) from error
        reason = "HF_HUB_OFFLINE is set" if before else f"{hub_address()} cannot be reached"
        if named:
            reason += f" ({', '.join(named)} names a SOCKS proxy, which needs: pip install 'httpx[socks]')"
        raise UserError(
            f"Cannot fetch {what}: {reason}, and the hub's cache on this machine does not hold it. Connect to the "
            f"network or name a mirror in HF_ENDPOINT (it is downloaded only once), {own}"
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = before
        os.environ.update(named)
