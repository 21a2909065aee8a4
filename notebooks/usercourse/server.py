"""Access to the servers that course.py starts: only with the token of this start.

A settings file of Jupyter could empty the token, set a password or allow another way in. Therefore course.py names this
class on the command line, which overrides settings files; the token is that of the environment, and nothing in the
class can be configured.
"""

import os
import secrets

from jupyter_server.auth.identity import PasswordIdentityProvider
from traitlets import Bool, Unicode, default, validate


def _token() -> str:
    return os.environ.get("JUPYTER_TOKEN") or secrets.token_urlsafe(24)


class TokenIdentity(PasswordIdentityProvider):
    """Requires the token $JUPYTER_TOKEN. Where that is not set, the token is random, so that no one has access."""

    # Declared again without config=True, so that settings files cannot change them.
    token = Unicode()
    hashed_password = Unicode()
    need_token: Bool[bool, bool | int] = Bool(True)
    password_required = Bool(False)
    allow_password_change = Bool(False)

    @default("token")
    def _the_token(self) -> str:
        return _token()

    @validate("token")
    def _only_the_token(self, proposal: object) -> str:  # Voila passes its own setting
        return _token()

    @validate("hashed_password")
    def _no_password(self, proposal: object) -> str:
        return ""
