"""What a method asks of a teacher whose tokens are not the student's."""

import pytest

from omniopd.methods import Fork, OmniOPD
from omniopd.methods.base import SPARE_TOKENS


@pytest.mark.parametrize("method", [Fork(), OmniOPD()])
def test_without_settings_it_depends_on_the_teacher(method: Fork | OmniOPD):
    shared, other = method.audit(shares_tokens=True), method.audit(shares_tokens=False)
    assert (shared.spare_tokens, other.spare_tokens) == (0, SPARE_TOKENS)
    assert other.reads_tokens
    assert (shared.chunk_len, shared.num_replies) == (other.chunk_len, other.num_replies)


def test_the_published_form_cuts_replies_only_where_tokens_differ_and_settings_go_before():
    assert not OmniOPD().audit(shares_tokens=True).clips_replies
    assert OmniOPD().audit(shares_tokens=False).clips_replies
    for shares_tokens in (True, False):
        uncut = OmniOPD(clip_replies=False).audit(shares_tokens=shares_tokens)
        assert (uncut.clips_replies, uncut.reads_tokens, uncut.spare_tokens) == (False, False, 0)
        assert OmniOPD(clip_replies=True).audit(shares_tokens=shares_tokens).clips_replies
        for method in (Fork(spare_tokens=2), OmniOPD(clip_replies=True, spare_tokens=2)):
            assert method.audit(shares_tokens=shares_tokens).spare_tokens == 2
