// SPDX-License-Identifier: MIT OR Apache-2.0
/* The half of the generator that runs in the kernel: writes a source into the frame and lets it pass.
 *
 * Sources are 02:66:67 and a 24-bit number, chosen at random so that neither caches nor branch predictors
 * can foresee them, from the same seed in each run. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "framegen.h"

/* One CPU runs the program, and for one caller: no need for atomics. */
struct generator generator;

SEC("xdp")
int framegen(struct xdp_md *context)
{
	__u8 *source = (__u8 *)(long)context->data + 6;

	if (source + 6 > (__u8 *)(long)context->data_end)
		return XDP_ABORTED;

	/* xorshift64 (Marsaglia 2003). */
	__u64 random = generator.random;
	random ^= random << 13;
	random ^= random >> 7;
	random ^= random << 17;
	generator.random = random;

	/* The upper half times the number of sources: a share of the range without a division. */
	__u32 number = generator.first + (__u32)((random >> 32) * generator.sources >> 32);

	source[3] = number >> 16;
	source[4] = number >> 8;
	source[5] = number;
	generator.passed++;
	return XDP_PASS;
}

/* Not a licence of this file: none of the helpers that it could call needs the GPL. */
char _license[] SEC("license") = "Dual MIT/GPL";
