"""Refuses a system call as a sandbox does: `refuse.py CALL ERROR PROGRAM ARGUMENTS`.

CALL is bpf, or packet-bind: bind(2) of packet sockets, which are known by the length of their address. No frame can be
captured then, though every interface is up. ERROR is the name of an error, such as EPERM or ENOSYS, or KILL: then the
program ends when it makes the call. Installs a seccomp filter (seccomp(2), linux/filter.h) and becomes the program.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER, THIRD_ARGUMENT = 0, 32
SOCKADDR_LL = 20
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
# Its number by machine, and what else has to be there for it to be the one: a place, and the value there.
CALLS = {
    "bpf": ({"x86_64": 321, "aarch64": 280}, []),
    "packet-bind": ({"x86_64": 49, "aarch64": 200}, [(THIRD_ARGUMENT, SOCKADDR_LL)]),
}

call, error, *program = sys.argv[1:]
verdict = KILL if error == "KILL" else REFUSE | getattr(errno, error)
numbers, more = CALLS[call]
instructions = [(RETURN, 0, 0, verdict), (RETURN, 0, 0, ALLOW)]
for place, value in reversed([(NUMBER, numbers[platform.machine()]), *more]):
    # Another is let through, which is what the last instruction does.
    instructions = [(LOAD, 0, 0, place), (JUMP_IF_EQUAL, 0, len(instructions) - 1, value), *instructions]
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in instructions))


class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]


filter = Filter(len(instructions), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
# Root needs no no_new_privs for it, and the program is to set that itself.
if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filter), 0, 0):
    sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
os.execv(program[0], program)
