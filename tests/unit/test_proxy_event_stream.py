from __future__ import annotations

from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from proxy.event_stream import HOLD_LIMIT_BYTES, FrameKeeper, exception_frame

FRAME = exception_frame("throttlingException", "slow down")


def test_the_exception_frame_is_one_that_an_sdk_reads() -> None:
    """botocore's own decoder accepts the frame, checksums included, and sees the exception in it."""
    buffer = EventStreamBuffer()
    buffer.add_data(exception_frame("modelStreamErrorException", "broke off — ünïcode"))
    (event,) = list(buffer)
    read = event.to_response_dict()
    assert read["headers"][":message-type"] == "exception"
    assert read["headers"][":exception-type"] == "modelStreamErrorException"
    assert "broke off" in read["body"].decode()


@given(cuts=st.lists(st.integers(0, 4 * len(FRAME)), max_size=12))
def test_frames_pass_whole_however_they_arrive(cuts: list[int]) -> None:
    """However the bytes are cut, they pass unchanged, and after each step a whole number has passed."""
    stream = FRAME * 4
    keeper, passed, begin = FrameKeeper(), b"", 0
    for end in [*sorted(cuts), len(stream)]:
        passed += keeper.feed(stream[begin:end])
        begin = end
        assert len(passed) % len(FRAME) == 0
        assert keeper.at_boundary
    assert passed == stream
    assert keeper.release() == b""


def test_a_break_inside_a_frame_leaves_a_boundary() -> None:
    """After a break in mid-frame, an exception frame can follow and the whole is readable."""
    keeper = FrameKeeper()
    passed = keeper.feed(FRAME + FRAME[:20])
    assert passed == FRAME
    buffer = EventStreamBuffer()
    buffer.add_data(passed + exception_frame("modelStreamErrorException", "broke off"))
    assert len(list(buffer)) == 2


@given(st.binary(max_size=300))
def test_what_is_no_event_stream_passes_unchanged(data: bytes) -> None:
    """Arbitrary bytes come out as they went in, in order and complete."""
    keeper = FrameKeeper()
    assert keeper.feed(data[:7]) + keeper.feed(data[7:]) + keeper.release() == data


def test_a_huge_frame_is_not_held() -> None:
    """A frame beyond the limit passes as it comes, so memory stays bounded."""
    size = HOLD_LIMIT_BYTES + 1000
    keeper = FrameKeeper()
    start = size.to_bytes(4, "big") + bytes(96)
    assert keeper.feed(start) == start
    assert not keeper.at_boundary
    assert keeper.feed(bytes(size - 100)) == bytes(size - 100)
    assert keeper.at_boundary
