"""A guest behind a tap: writes frames with the offload headers that a virtio card would write.

Reads lines "KIND COUNT" and answers each with "done". KIND is "plain" or "ufo": a UDP datagram that the guest
leaves to the host to cut into fragments.
"""

import fcntl
import os
import struct
import sys

TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_UFO = 0x01, 0x10
NEEDS_CSUM, GSO_NONE, GSO_UDP = 1, 0, 3

tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", b"tap0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
fcntl.ioctl(tap, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_UFO)


def frame(source, payload):
    udp = struct.pack("!HHHH", 1, 2, 8 + payload, 0) + bytes(payload)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes([10, 9, 0, 1]), bytes([10, 9, 0, 2]))
    total = sum(struct.unpack("!10H", ip))
    total = (total & 0xFFFF) + (total >> 16)
    ip = ip[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + ip[12:]
    return bytes([2, 0, 0, 0, 0, 0xFF]) + bytes([2, 0, 0, 0, 0, source]) + b"\x08\x00" + ip + udp


def header(kind, segment):
    flags = NEEDS_CSUM if kind else 0
    return struct.pack("=BBHHHH", flags, kind, 42 if kind else 0, segment, 34 if kind else 0, 6 if kind else 0)


FRAMES = {
    "plain": header(GSO_NONE, 0) + frame(1, 58),
    "ufo": header(GSO_UDP, 1400) + frame(2, 6000),
}
print("ready", flush=True)
for line in sys.stdin:
    kind, count = line.split()
    for _ in range(int(count)):
        os.write(tap, FRAMES[kind])
    print("done", flush=True)
