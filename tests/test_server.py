"""The token of a server is that of the environment, whatever settings say; where there is none nobody knows it."""

import pytest
from traitlets.config import Config

from usercourse.server import TokenIdentity

SETTINGS = {
    "none": {},
    "an empty token": {"IdentityProvider": {"token": ""}},
    "a token of the user's": {"PasswordIdentityProvider": {"token": "known"}},
    "this class": {"TokenIdentity": {"token": "", "need_token": False}},
    "a password": {"PasswordIdentityProvider": {"hashed_password": "argon2:x", "password_required": True}},
}


@pytest.mark.parametrize("handed_over", [None, "", "known"])
@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_changes_who_is_let_in(monkeypatch, name, handed_over):
    monkeypatch.setenv("JUPYTER_TOKEN", "the token of this start")
    beside = {} if handed_over is None else {"token": handed_over}  # as Voila does
    one = TokenIdentity(config=Config(SETTINGS[name]), **beside)
    assert one.token == "the token of this start"
    assert one.hashed_password == "" and not one.password_required and not one.allow_password_change
    assert one.auth_enabled


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_token_nobody_is_let_in(monkeypatch, value):
    monkeypatch.delenv("JUPYTER_TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("JUPYTER_TOKEN", value)
    one, other = TokenIdentity(config=Config(SETTINGS["an empty token"])), TokenIdentity(token="")
    assert len(one.token) >= 32 and len(other.token) >= 32 and one.token != other.token
