"""Finished runs to export, besides the demo's."""

import pytest
from projects import Project, made_once


@pytest.fixture(scope="session")
def chatting(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Finished runs `whole-0` and `adapted-0` of a student that chats; not to be written to."""
    from chatting import chatting_in, make_chatting

    return chatting_in(made_once(tmp_path_factory, "chatting", make_chatting))
