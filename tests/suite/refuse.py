"""Refuses bpf(2) as a sandbox does: `refuse.py ERROR PROGRAM ARGUMENTS`.

ERROR is the name of an error, such as EPERM or ENOSYS, or KILL: then the program ends when it calls bpf(2).
Installs a seccomp filter (seccomp(2), linux/filter.h) and becomes the program.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
LOAD_NUMBER, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2

name, *program = sys.argv[1:]
verdict = KILL if name == "KILL" else REFUSE | getattr(errno, name)
instructions = [
    (LOAD_NUMBER, 0, 0, 0),
    (JUMP_IF_EQUAL, 0, 1, BPF),
    (RETURN, 0, 0, verdict),
    (RETURN, 0, 0, ALLOW),
]
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in instructions))


class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]


filter = Filter(len(instructions), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
# Root needs no no_new_privs for it, and the program is to set that itself.
if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filter), 0, 0):
    sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
os.execv(program[0], program)
