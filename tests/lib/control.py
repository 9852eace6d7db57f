"""What fs/mount/control.h says, for the cases: calls on files of a mount.

    import control

    control.vault(m.path)                  # {"version": 1, ...}
    control.scan(m.path)                   # until a whole scan has ended
    control.file_key(fd)                   # (id, key, size, backing path)

Every call takes a path in the mount or a descriptor, and raises OSError.
"""
import ctypes
import errno
import fcntl
import os
import time
from contextlib import contextmanager

u8, u16, u32, u64 = (ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32,
                     ctypes.c_uint64)


class Public(ctypes.Structure):
    _fields_ = [("sign", u8 * 32), ("box", u8 * 32)]


class Vault(ctypes.Structure):
    _fields_ = [("version", u32), ("identity", ctypes.c_int32), ("read_only", u32),
                ("shared", u32), ("vault_id", u8 * 16), ("pub", Public),
                ("backing", ctypes.c_char * 4096),
                ("mountpoint", ctypes.c_char * 4096)]


class FileKey(ctypes.Structure):
    _fields_ = [("file_id", u8 * 16), ("key", u8 * 32), ("size", u64),
                ("backing", ctypes.c_char * 4096)]


class Statement(ctypes.Structure):
    _fields_ = [("kind", u8), ("index", u8), ("set_id", u8 * 16),
                ("sender", Public), ("recipient", Public), ("created_s", u64),
                ("digest", u8 * 32)]


class Sign(ctypes.Structure):
    _fields_ = [("st", Statement), ("signature", u8 * 64)]


class Scan(ctypes.Structure):
    _fields_ = [("ticket", u64), ("done", u32), ("err", ctypes.c_int32)]


class InboxSet(ctypes.Structure):
    _fields_ = [("set_id", u8 * 16), ("state", u8), ("kind", u8),
                ("index", u8), ("k", u8), ("n", u8), ("have_mask", u16),
                ("asked_mask", u16), ("holders", (ctypes.c_char * 65) * 16),
                ("sender", Public), ("sender_name", ctypes.c_char * 65),
                ("recipient_name", ctypes.c_char * 65),
                ("name", ctypes.c_char * 256), ("note", ctypes.c_char * 1001),
                ("path", ctypes.c_char * 4096),
                ("code", ctypes.c_char * 7), ("expires_s", u64),
                ("first_seen_s", u64), ("size", u64), ("content_have", u64),
                ("content_need", u64), ("entries", u32),
                ("ack_due", ctypes.c_bool)]


class Set(ctypes.Structure):
    _fields_ = [("cursor", u8 * 16), ("cursor_index", u8), ("set", InboxSet)]


class Card(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char * 65), ("address", ctypes.c_char * 129),
                ("pub", Public)]


class Release(ctypes.Structure):
    _fields_ = [("set_id", u8 * 16), ("sender", Public), ("index", u32), ("inner_len", u32),
                ("inner", u8 * 6144), ("recipient", Card)]


class Released(ctypes.Structure):
    _fields_ = [("set_id", u8 * 16), ("sender", Public), ("index", u32)]


class Record(ctypes.Structure):
    _fields_ = [("seq", u64), ("time_s", u64), ("event", u8), ("index", u8),
                ("detail", u8), ("set_id", u8 * 16), ("peer", Public),
                ("text", ctypes.c_char * 256)]


class LogState(ctypes.Structure):
    _fields_ = [("count", u64), ("bad_seq", u64), ("fault", u32)]


# enum inbox_state
(WAITING_CARD, WAITING_MANIFEST, WAITING_SHARES, WAITING_CONTENT, OPEN, GRANTED,
 NOT_ATTACHED, REVOKED, EXPIRED, CUSTODY, DAMAGED) = range(1, 12)
# enum vlog_event
EVENTS = ("none sent granted received opened custody released refused revoked "
          "withdrawn key_revoked expired rekeyed acknowledged declined verified "
          "exported").split()

_READ, _WRITE = 2, 1


def _number(nr, direction, struct=None):
    size = ctypes.sizeof(struct) if struct else 0
    return direction << 30 | size << 16 | ord("F") << 8 | nr


VAULT = _number(1, _READ, Vault)
IDENTITY = _number(2, _READ, Public)
FILE_KEY = _number(3, _READ, FileKey)
REKEY = _number(4, 0)
SIGN = _number(5, _READ | _WRITE, Sign)
SCAN = _number(6, _READ | _WRITE, Scan)
SET_NEXT = _number(16, _READ | _WRITE, Set)
RELEASE = _number(8, _READ | _WRITE, Release)
RELEASED = _number(9, _WRITE, Released)
LOG_APPEND = _number(10, _WRITE, Record)
LOG_READ = _number(11, _READ | _WRITE, Record)
LOG_VERIFY = _number(12, _READ, LogState)


@contextmanager
def _fd(where):
    if isinstance(where, int):
        yield where
        return
    fd = os.open(where, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def call(where, number, struct):
    """The ioctl; the struct as it came back."""
    buf = bytearray(bytes(struct))
    with _fd(where) as fd:
        fcntl.ioctl(fd, number, buf, True)
    return type(struct).from_buffer_copy(buf)


def vault(where):
    return call(where, VAULT, Vault())


def identity(where):
    """Both public keys, as the formats have them; makes the identity."""
    return bytes(call(where, IDENTITY, Public()))


def file_key(fd):
    k = call(fd, FILE_KEY, FileKey())
    return bytes(k.file_id), bytes(k.key), k.size, os.fsdecode(k.backing)


def rekey(fd):
    fcntl.ioctl(fd, REKEY)


def sign(where, kind, recipient, digest, set_id=bytes(16), index=0, created=None):
    s = Sign()
    s.st.kind, s.st.index = kind, index
    ctypes.memmove(s.st.set_id, set_id, 16)
    s.st.recipient = Public.from_buffer_copy(recipient)
    s.st.created_s = int(time.time()) if created is None else created
    ctypes.memmove(s.st.digest, digest, 32)
    s = call(where, SIGN, s)
    return bytes(s.st.sender), bytes(s.signature)


def scan(where, timeout_s=60):
    """Ask for a scan and wait for its end."""
    ticket = call(where, SCAN, Scan()).ticket
    end = time.monotonic() + timeout_s
    while True:
        s = call(where, SCAN, Scan(ticket=ticket))
        if s.done:
            break
        assert time.monotonic() < end, f"no scan within {timeout_s} s"
        time.sleep(0.01)
    if s.err:
        raise OSError(-s.err, os.strerror(-s.err))


def sets(where):
    """All that the inbox knows."""
    s, found = Set(), []
    while True:
        try:
            s = call(where, SET_NEXT, s)
        except OSError as e:
            if e.errno == errno.ENODATA:
                return found
            raise
        found.append(s.set)


def release(where, sender, set_id, index):
    r = Release(sender=Public.from_buffer_copy(sender), index=index)
    ctypes.memmove(r.set_id, set_id, 16)
    r = call(where, RELEASE, r)
    return bytes(r.inner[:r.inner_len]), r.recipient


def released(where, sender, set_id, index):
    r = Released(sender=Public.from_buffer_copy(sender), index=index)
    ctypes.memmove(r.set_id, set_id, 16)
    call(where, RELEASED, r)


def log_append(where, event, text="", set_id=bytes(16)):
    r = Record(event=EVENTS.index(event), text=text.encode())
    ctypes.memmove(r.set_id, set_id, 16)
    call(where, LOG_APPEND, r)


def log(where):
    """The records: (event, text, record)."""
    found = []
    while True:
        try:
            r = call(where, LOG_READ, Record(seq=len(found)))
        except OSError as e:
            if e.errno == errno.ENODATA:
                return found
            raise
        found.append((EVENTS[r.event], r.text.decode(errors="replace"), r))


def log_verify(where):
    return call(where, LOG_VERIFY, LogState())
