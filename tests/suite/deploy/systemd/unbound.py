"""Refuses bind(2) of packet sockets: `unbound.py PROGRAM ARGUMENTS`.

No frame can be captured then, though every interface is up. Installs a seccomp filter (seccomp(2), linux/filter.h) that
knows a packet socket by the length of its address, and becomes the program.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

BIND = {"x86_64": 49, "aarch64": 200}[platform.machine()]
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER, THIRD_ARGUMENT = 0, 32
SOCKADDR_LL = 20
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.ENODEV
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2

instructions = [
    (LOAD, 0, 0, NUMBER),
    (JUMP_IF_EQUAL, 0, 3, BIND),
    (LOAD, 0, 0, THIRD_ARGUMENT),
    (JUMP_IF_EQUAL, 0, 1, SOCKADDR_LL),
    (RETURN, 0, 0, REFUSE),
    (RETURN, 0, 0, ALLOW),
]
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in instructions))


class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]


filter = Filter(len(instructions), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filter), 0, 0):
    sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[1], sys.argv[1:])
