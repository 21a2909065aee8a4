"""Who may use the servers that course.py starts: whoever has the token of this start.

A settings file of Jupyter can empty the token, set a password or name another way in. So course.py names this class on
the command line, which beats every settings file, and nothing in it can be set: the token is that of the environment.
"""

import os
import secrets

from jupyter_server.auth.identity import PasswordIdentityProvider
from traitlets import Bool, Unicode, default, validate


def _token() -> str:
    return os.environ.get("JUPYTER_TOKEN") or secrets.token_urlsafe(24)


class TokenIdentity(PasswordIdentityProvider):
    """Lets in who shows $JUPYTER_TOKEN. Where that is not set the token is unknown, and no one is let in."""

    # Declared again without config=True: what a settings file says of them is not read.
    token = Unicode()
    hashed_password = Unicode()
    need_token: Bool[bool, bool | int] = Bool(True)
    password_required = Bool(False)
    allow_password_change = Bool(False)

    @default("token")
    def _the_token(self) -> str:
        return _token()

    @validate("token")
    def _only_the_token(self, proposal: object) -> str:  # Voila hands its own setting over
        return _token()

    @validate("hashed_password")
    def _no_password(self, proposal: object) -> str:
        return ""
