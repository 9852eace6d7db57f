"""What the cases about tampering have in common."""
import time


# The parts of a token: where they begin and end.
TOKEN = {"version": (0, 1), "timestamp": (1, 9), "IV": (9, 25),
         "ciphertext": (25, -32), "MAC": (-32, None), "token": (0, None)}


def token_part(start, length, part):
    """Offset and length of a part of the token that lies at start."""
    a, b, _ = slice(*TOKEN[part]).indices(length)
    return start + a, b - a


def flip(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


def flipped_parts(data):
    """part -> the token with one bit of that part another."""
    return {part: flip(data, token_part(0, len(data), part)[0]) for part in TOKEN}


def next_second():
    """
    What is sealed from now on is newer: tokens count seconds, of a clock that
    is some milliseconds behind this one (time(2)).
    """
    then = int(time.time()) + 1.05
    while (left := then - time.time()) > 0:
        time.sleep(left)


def compare(wrong):
    assert not wrong, "\n".join(wrong[:60])
