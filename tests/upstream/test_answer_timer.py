"""The clock towards the upstream, by numbers."""

from openai_proxy.upstream.answer_timer import NEVER, AnswerTimer, UpstreamTimeouts


def timer(started=100.0, bounded=True, **timeouts):
    made = AnswerTimer(UpstreamTimeouts(**timeouts))
    made.begin(started, bounded)
    return made


def test_the_head_is_expected_from_when_the_request_was_sent():
    """But never later than the whole of it."""
    expecting = timer(first_byte=10)
    expecting.expect_head(105)
    assert expecting.deadline == 115
    expecting = timer(first_byte=10, total=12)
    expecting.expect_head(105)
    assert expecting.deadline == 112
    assert not expecting.is_over(111.9)
    assert expecting.is_over(112)
    expecting = timer(first_byte=None)
    expecting.expect_head(105)
    assert expecting.deadline == NEVER


def test_a_tunnel_may_take_for_ever():
    """The total is for answers."""
    tunnel = timer(bounded=False, total=12)
    assert not tunnel.is_over(1e9)
    tunnel.expect_close(200)
    assert 200 < tunnel.deadline < 300


def test_an_upload_is_bounded_by_the_total_alone():
    """And by how long the upstream takes none of it."""
    upload = timer(first_byte=1, idle=30, total=500)
    upload.expect_end(100)
    assert upload.deadline == 600
    assert not upload.is_stuck(29.9)
    assert upload.is_stuck(30)
    assert not timer(idle=None).is_stuck(1e9)


def test_silence_counts_from_the_last_noted_read():
    """Reads are noted at a sweep, once for all of them."""
    body = timer(idle=10)
    body.expect_body(100)
    assert body.deadline == 110
    body.was_read = True
    body.note_reads(105, in_body=True)
    assert (body.was_read, body.deadline) == (False, 115)
    body.note_reads(109, in_body=True)
    assert body.deadline == 115
    assert not body.is_silent(114.9, held=False)
    assert body.is_silent(115, held=False)


def test_time_in_which_a_body_is_held_back_does_not_count():
    """Whoever pauses the upstream cannot blame it."""
    body = timer(idle=10)
    body.expect_body(100)
    assert not body.is_silent(150, held=True)
    assert body.deadline == 160
    body.expect_body(155)
    assert not body.is_silent(164, held=False)


def test_without_an_idle_limit_only_the_total_is_left():
    """None is never."""
    body = timer(idle=None, total=1000)
    body.expect_body(100)
    assert body.deadline == 1100
    body.was_read = True
    body.note_reads(500, in_body=True)
    assert not body.is_silent(1e6, held=False)
    assert body.deadline == 1100
    tunnel = timer(bounded=False, idle=10)
    tunnel.was_read = True
    tunnel.note_reads(500, in_body=False)
    assert tunnel.deadline == NEVER
