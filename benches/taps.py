#!/usr/bin/env python3
"""Two packet sockets to compare with: `taps.py loop INTERFACE`, `taps.py drop INTERFACE`. SIGTERM ends them."""

import ctypes
import signal
import socket
import struct
import sys

# include/uapi/linux/if_ether.h, if_packet.h; include/uapi/asm-generic/socket.h
ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_STATISTICS = 6
SO_ATTACH_FILTER = 26


def loop(tap, counts):
    """The loop of the tutorials, with the source where it is: after the six bytes of the destination."""
    while True:
        frame = tap.recv(65535)
        source = ":".join("%02x" % byte for byte in frame[6:12])
        counts[source] = counts.get(source, 0) + 1


def drop(tap):
    """Lets nothing through: a classic filter of one instruction that returns 0, in the place of all of ours."""
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HxxxxxxP", 1, ctypes.addressof(instruction))
    tap.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def end(*_):
    raise KeyboardInterrupt


def main():
    what, interface = sys.argv[1:]
    signal.signal(signal.SIGTERM, end)
    counts = {}
    # Protocol 0 hears nothing until it is bound, and then with the filter in place.
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        if what == "drop":
            drop(tap)
        tap.bind((interface, ETH_P_ALL))
        if what == "drop":
            signal.pause()
        loop(tap, counts)
    except KeyboardInterrupt:
        _, dropped = struct.unpack("II", tap.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        print(f"counted={sum(counts.values())} dropped={dropped}")


main()
