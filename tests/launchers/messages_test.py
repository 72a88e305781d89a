"""Messages between workers and launchers."""

import numpy as np
import pytest

from launchers.messages import Done, Error, Heartbeat, Progress, Started, decode, encode


@pytest.mark.parametrize(
    "message",
    [
        Started(),
        Heartbeat(),
        Progress("epoch 1/2, 영화", 3, 10, {"loss": 0.5, "kind": "slow"}, keep=True),
        Error("ValueError", "first\nsecond", user_error=False),
        Done(),
    ],
)
def test_decoded_messages_equal_the_encoded_ones(message):
    line = encode(message)
    assert "\n" not in line
    assert decode(line.encode()) == message


def test_numpy_numbers_become_plain_ones():
    message = Progress("epoch", np.int64(1), 4, {"loss": np.float32(0.5)})
    assert decode(encode(message).encode()) == Progress("epoch", 1, 4, {"loss": 0.5})


@pytest.mark.parametrize("line", [b"", b'{"kind": "prog'])
def test_incomplete_lines_are_rejected(line):
    with pytest.raises(ValueError):
        decode(line)


def test_errors_are_described_by_their_first_line():
    assert str(Error("ValueError", "\nfirst\nsecond", user_error=False)) == "ValueError: first"
    assert str(Error("SystemExit", " ", user_error=False)) == "SystemExit: no message"


def test_only_errors_of_collective_operations_are_collective():
    assert Error("UnavailableError", "", user_error=False).is_collective
    assert not Error("ValueError", "", user_error=False).is_collective


def test_unknown_totals_are_described():
    assert str(Progress("reading", 3, 0, {})) == "reading (3 of an unknown number)"
