// SPDX-License-Identifier: MIT OR Apache-2.0
/* Delivers frames to an interface as if they had come over its wire, millions a second.
 *
 * The kernel runs an XDP program on a frame as often as it is told and passes the frame on to the receive
 * path each time (BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18;
 * Documentation/bpf/bpf_prog_run.rst). All that is done with a frame there, packet sockets included, is done
 * before the next batch and in this thread, so this thread's CPU time per frame is that of the receive path,
 * whatever else the machine does. Run it once with nothing listening and once with the program under test:
 * the difference is what that adds. Some 25 ms of setting up are in both. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <getopt.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "framegen.h"

/* The compiled framegen.bpf.c, which `ld -r -b binary` made part of this program. */
extern const char object_start[] __asm__("_binary_framegen_bpf_o_start");
extern const char object_end[] __asm__("_binary_framegen_bpf_o_end");

enum { MIN_BYTES = 60, MAX_BYTES = 1514 };

/* How many frames the kernel makes ready at a time: a network card's usual budget. */
#define BATCH 64

static const char usage[] =
	"usage: framegen -i INTERFACE -n FRAMES [-s SOURCES] [-f FIRST] [-l BYTES] [-u]\n"
	"\n"
	"  -i  interface that the frames arrive on\n"
	"  -n  how many frames\n"
	"  -s  how many sources they come from (256)\n"
	"  -f  number of the first source (0): 02:66:67:00:00:00 and so on\n"
	"  -l  bytes of each frame, without the frame check sequence (60)\n"
	"  -u  frames are UDP over IPv4, for programs that look at nothing else\n"
	"\n"
	"Prints on one line: frames, seconds, ns_per_frame (CPU time). Wants root.\n";

static void fail(const char *what, int error)
{
	fprintf(stderr, "framegen: %s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(1);
}

/* A decimal number between the bounds, or the end of the program. */
static unsigned long number(char option, const char *text, unsigned long min, unsigned long max)
{
	char *end;

	errno = 0;
	unsigned long value = strtoul(text, &end, 10);
	/* strtoul takes "-1" for the largest number there is. */
	if (errno || end == text || *end || strchr(text, '-') || value < min || value > max) {
		fprintf(stderr, "framegen: -%c '%s': not a number from %lu to %lu\n", option, text, min, max);
		exit(2);
	}
	return value;
}

static void put16(unsigned char *to, unsigned int value)
{
	to[0] = value >> 8;
	to[1] = value;
}

/* Makes the frame a UDP datagram from 192.0.2.1 to 192.0.2.2 (RFC 5737), port 9 to 9 (discard). */
static void fill_in_udp(unsigned char *frame, unsigned int bytes)
{
	static const unsigned char header[20] = { 0x45, [8] = 64, IPPROTO_UDP, [12] = 192, 0, 2, 1, 192, 0, 2, 2 };
	unsigned char *ip = frame + 14, *udp = ip + sizeof header;
	unsigned long sum = 0;

	put16(frame + 12, 0x0800);
	memcpy(ip, header, sizeof header);
	put16(ip + 2, bytes - 14);
	for (size_t at = 0; at < sizeof header; at += 2)
		sum += ip[at] << 8 | ip[at + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	put16(ip + 10, ~sum & 0xffff);
	put16(udp, 9);
	put16(udp + 2, 9);
	put16(udp + 4, bytes - 14 - sizeof header);
	/* No checksum: 0. */
}

static double seconds(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	struct generator generator = { .sources = 256, .random = 0x9e3779b97f4a7c15 };
	const char *interface = NULL;
	unsigned long frames = 0;
	unsigned int bytes = MIN_BYTES;
	bool is_udp = false;
	int option;

	while ((option = getopt(argc, argv, "i:n:s:f:l:uh")) != -1) {
		switch (option) {
		case 'i': interface = optarg; break;
		/* `repeat` of the system call is a signed 32-bit number. */
		case 'n': frames = number('n', optarg, 1, 0x7fffffff); break;
		case 's': generator.sources = number('s', optarg, 1, 1 << 24); break;
		case 'f': generator.first = number('f', optarg, 0, (1 << 24) - 1); break;
		case 'l': bytes = number('l', optarg, MIN_BYTES, MAX_BYTES); break;
		case 'u': is_udp = true; break;
		case 'h': fputs(usage, stdout); return 0;
		default: fputs(usage, stderr); return 2;
		}
	}
	if (!interface || !frames || optind < argc) {
		fputs(usage, stderr);
		return 2;
	}
	if (generator.first + generator.sources > 1 << 24) {
		fprintf(stderr, "framegen: -f and -s: beyond the last source, 02:66:67:ff:ff:ff\n");
		return 2;
	}
	unsigned int index = if_nametoindex(interface);
	if (!index)
		fail(interface, errno);

	struct bpf_object *object = bpf_object__open_mem(object_start, object_end - object_start, NULL);
	if (!object)
		fail("BPF object", errno);
	int error = bpf_object__load(object);
	if (error)
		fail("cannot load the BPF program", error);
	int program = bpf_program__fd(bpf_object__find_program_by_name(object, "framegen"));
	struct bpf_map *variables = bpf_object__find_map_by_name(object, ".bss");
	if (program < 0 || !variables || bpf_map__value_size(variables) != sizeof generator)
		fail("the BPF object is not this generator's", EINVAL);
	const __u32 key = 0;
	error = bpf_map__update_elem(variables, &key, sizeof key, &generator, sizeof generator, BPF_ANY);
	if (error)
		fail("cannot set the program's variables", error);

	/*
	 * EtherType 0x88b5 is for experiments (IEEE 802, clause 9.2.4): nothing but taps takes the frames. Those that
	 * are IPv4 are dropped for their destination before anything else is done with them.
	 */
	unsigned char frame[MAX_BYTES] = {
		0x02, 0x66, 0x67, 0xff, 0xff, 0xff, /* to nobody */
		0x02, 0x66, 0x67, 0x00, 0x00, 0x00, 0x88, 0xb5,
	};
	if (is_udp)
		fill_in_udp(frame, bytes);
	struct xdp_md context = { .data_end = bytes, .ingress_ifindex = index };
	LIBBPF_OPTS(bpf_test_run_opts, run,
		.data_in = frame, .data_size_in = bytes,
		.ctx_in = &context, .ctx_size_in = sizeof context,
		.repeat = frames, .batch_size = BATCH, .flags = BPF_F_TEST_XDP_LIVE_FRAMES);

	double wall = seconds(CLOCK_MONOTONIC);
	double cpu = seconds(CLOCK_THREAD_CPUTIME_ID);
	error = bpf_prog_test_run_opts(program, &run);
	cpu = seconds(CLOCK_THREAD_CPUTIME_ID) - cpu;
	wall = seconds(CLOCK_MONOTONIC) - wall;
	if (error == -EINVAL)
		fprintf(stderr, "framegen: the kernel refused; live frames need Linux 5.18\n");
	if (error)
		fail("injecting", error);

	/* What the program passed, not what was asked for. */
	error = bpf_map__lookup_elem(variables, &key, sizeof key, &generator, sizeof generator, 0);
	if (error)
		fail("cannot read the program's variables", error);
	printf("frames=%llu seconds=%.6f ns_per_frame=%.1f\n", generator.passed, wall,
	       cpu * 1e9 / generator.passed);
	bpf_object__close(object);
	return 0;
}
