"""System calls that Python's os module does not have, by their C names."""
import ctypes
import os
import struct

NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4             # renameat2
KEEP_SIZE, PUNCH, COLLAPSE, ZERO, INSERT, UNSHARE = 1, 2, 8, 16, 32, 64
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
AT_FDCWD, AT_SYMLINK_NOFOLLOW, AT_REMOVEDIR = -100, 0x100, 0x200
AT_SYMLINK_FOLLOW, AT_EMPTY_PATH, AT_EACCESS = 0x400, 0x1000, 0x200
O_TMPFILE = os.O_TMPFILE

libc = ctypes.CDLL(None, use_errno=True)
_long = ctypes.c_longlong


def _check(result):
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _path(path):
    return ctypes.c_char_p(os.fsencode(path))


def renameat2(a, b, flags, afd=AT_FDCWD, bfd=AT_FDCWD):
    return _check(libc.renameat2(afd, _path(a), bfd, _path(b), flags))


def linkat(a, b, flags=0, afd=AT_FDCWD, bfd=AT_FDCWD):
    return _check(libc.linkat(afd, _path(a), bfd, _path(b), flags))


def fallocate(fd, mode, at, length):
    return _check(libc.fallocate(fd, mode, _long(at), _long(length)))


def truncate(path, length):
    return _check(libc.truncate(_path(path), _long(length)))


def utimensat(path, atime, mtime, flags=0, fd=AT_FDCWD):
    """atime and mtime: (seconds, nanoseconds)."""
    times = struct.pack("qqqq", *atime, *mtime)
    return _check(libc.utimensat(fd, None if path is None else _path(path),
                                 times, flags))


def unlinkat(path, flags, fd=AT_FDCWD):
    return _check(libc.unlinkat(fd, _path(path), flags))


def faccessat(path, mode, flags=0, fd=AT_FDCWD):
    return _check(libc.faccessat(fd, _path(path), mode, flags))


def mknod(path, mode, dev=0):
    return _check(libc.mknod(_path(path), mode, ctypes.c_ulong(dev)))


def fchownat(path, uid, gid, flags=0, fd=AT_FDCWD):
    return _check(libc.fchownat(fd, _path(path), uid, gid, flags))


def setxattr(path, name, value, size=None, flags=0):
    return _check(libc.setxattr(_path(path), name, value,
                                ctypes.c_size_t(len(value) if size is None else size),
                                flags))


def getxattr(path, name, size):
    buf = ctypes.create_string_buffer(max(size, 1))
    n = _check(libc.getxattr(_path(path), name, buf, ctypes.c_size_t(size)))
    return n, buf.raw[:min(n, size)]


def listxattr(path, size):
    buf = ctypes.create_string_buffer(max(size, 1))
    return _check(libc.listxattr(_path(path), buf, ctypes.c_size_t(size)))


def readlink(path, size):
    buf = ctypes.create_string_buffer(max(size, 1))
    n = _check(libc.readlink(_path(path), buf, ctypes.c_size_t(size)))
    return buf.raw[:n]


def statx_mask(path, flags=0, fd=AT_FDCWD):
    """Which of the basic fields statx(2) knows, with type, links and size."""
    buf = ctypes.create_string_buffer(256)
    _check(libc.statx(fd, _path(path), flags, 0x7ff, buf))
    mask, _, _, nlink, uid, gid, mode = struct.unpack_from("=IIQIIIH", buf, 0)
    return mask & 0x7ff, nlink, uid, gid, mode


def sync_file_range(fd, at, n, flags):
    return _check(libc.sync_file_range(fd, _long(at), _long(n), flags))


def syncfs(fd):
    return _check(libc.syncfs(fd))


class Dir:
    """opendir(3) and what goes with it."""

    class Entry(ctypes.Structure):
        _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64),
                    ("reclen", ctypes.c_ushort), ("type", ctypes.c_ubyte),
                    ("name", ctypes.c_char * 256)]

    def __init__(self, path):
        libc.opendir.restype = ctypes.c_void_p
        libc.readdir.restype = ctypes.POINTER(Dir.Entry)
        libc.telldir.restype = ctypes.c_long
        found = libc.opendir(_path(path))
        if not found:
            _check(-1)
        self.dir = ctypes.c_void_p(found)

    def read(self):
        """(name, type, inode number), or None at the end."""
        entry = libc.readdir(self.dir)
        if not entry:
            return None
        return entry.contents.name, entry.contents.type, entry.contents.ino

    def rest(self):
        found = []
        while entry := self.read():
            found.append(entry)
        return found

    def tell(self):
        return libc.telldir(self.dir)

    def seek(self, at):
        libc.seekdir(self.dir, ctypes.c_long(at))

    def rewind(self):
        libc.rewinddir(self.dir)

    def close(self):
        libc.closedir(self.dir)
