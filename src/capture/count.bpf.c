/*
 * The kernel half of the kernel engine: a socket filter that counts each frame where it is received, and lets
 * only the first frame of a new source through, as a notice.
 *
 * It runs in the receive path for every frame, on several CPUs at once. What keeps it exact:
 *
 *  - Each CPU adds to a column of its own, so nothing is shared and nothing is lost. CPUs beyond these share one,
 *    with atomic additions.
 *  - A source gets its slot by an insertion that never overwrites. Of two CPUs that meet a new source at the same
 *    time, one inserts; the other gives its slot back and counts in the first one's.
 *  - The kernel reuses the entries of a hash as soon as they are deleted: an entry that was found may be another
 *    source's by the time its slot is read. So each slot says whose it is, and a stranger's is not believed.
 *  - That makes it safe to remember where a source was last found, which saves most frames the hash. A slot that is
 *    remembered may be given away at any time; but once a run has seen it settled and not leaving, no more until that
 *    run ends. So the state is read first, and what it belongs to after that.
 *
 * The verifiers of several kernels must take it, without CAP_PERFMON too, where they also walk the ways of CPUs that
 * mispredict: after a change, run tests/kernels.
 *
 * It is short, too: a socket has to have room for it twice (net.core.optmem_max, see Engine::attach), which by Linux 6.1's
 * default it has for some 1,100 instructions.
 *
 * User space fills the queues of free slots, reads the tables through mapped memory, and forgets sources: see
 * kernel/tables.rs, which has the same layouts. After a change, run src/capture/compile.
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

/* include/uapi/linux/if_ether.h, if_packet.h, in.h */
#define ETHERNET_HEADER 14
#define SOURCE_OFFSET 6
#define TYPE_OFFSET 12
#define PACKET_OUTGOING 4
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17

/* include/uapi/asm-generic/errno-base.h: what an empty queue says */
#define ENOENT 2

/* include/linux/skbuff.h: the segments of this super-frame are what hangs on its list, of any size */
#define GSO_BY_FRAGS 0xffff

#define SOURCE_MASK 0x0000ffffffffffffULL

/* Which frames count: capture/socket.rs, Direction. */
#define DIRECTION_IN 1
#define DIRECTION_OUT 2

/* Set by user space before the program is verified; the verifier takes them for constants. */
volatile const __u32 direction = 0;
/* Columns of the tables: one for each CPU from 0 on, and one that all others share. */
volatile const __u32 columns = 2;
/*
 * How many of them only one run of the program at a time adds to: nothing interrupts it on its CPU, for bottom halves
 * are off. A real-time kernel may not keep to that.
 */
volatile const __u32 undisturbed = 1;
/* Most ordinary sources of one interface. */
volatile const __u32 limit = 1024;
/* Rows of the tallies. */
volatile const __u32 rows = 1;
/* Drawn at random: strangers choose the addresses, and must not choose which of them displace each other. */
volatile const __u64 seed = 0;

/* Who sends: the address in wire order and two bytes of zero, then the index of the interface. */
struct source {
	__u64 address;
	__u32 interface;
} __attribute__((packed, aligned(4)));

/* Where a slot came from. 0: it is free, or its source is just being inserted. */
#define ORDINARY 1
#define RESERVED 2
/* User space is about to read it for the last time: nothing may be counted there any more. */
#define LEAVING 8
/* Shifted by so many bits: nobody has the slot, and its queue would not take it. User space gives it back. */
#define STRAY_SHIFT 4

/* Whose a slot is. */
struct owner {
	/* As in struct source; the upper two bytes are the number of the interface's books. */
	__u64 address;
	__u32 interface;
	/* ORDINARY or RESERVED, and LEAVING; or either as a stray's. One more bit is user space's. */
	__u32 state;
};

/*
 * A key or value on the stack, in the upper half of eight bytes that hold nothing else. Without CAP_PERFMON the verifier
 * refuses a store into part of eight bytes that hold what it has taken note of ("attempt to corrupt spilled pointer",
 * seen in Linux 6.1), and it takes note of what is stored at the beginning of eight bytes, not in the middle.
 */
struct word {
	__u32 nothing, at;
} __attribute__((aligned(8)));

/* What one CPU counted of one source. */
struct tally {
	__u64 frames;
	__u64 bytes;
	/* CLOCK_MONOTONIC_COARSE, in nanoseconds */
	__u64 first;
	__u64 last;
};

/* What one CPU counted on one interface outside of all sources' tallies. */
struct books {
	__u64 untracked_frames;
	__u64 untracked_bytes;
	__u64 runts;
	/* Sources that took a slot. */
	__u64 arrivals;
};

/* What the sources of an interface hold, on all CPUs together. */
struct holding {
	/* Ordinary slots. */
	__u64 slots;
	/* Of the untracked frames, those for whose sources there was room, and the tables refused all the same. */
	__u64 refused;
};

/* Sizes are user space's to set; these only have to be valid. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct source);
	__type(value, __u32);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct owner);
} owners SEC(".maps");

/* At column * rows + slot, so that no two CPUs write to one cache line. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tally);
} tallies SEC(".maps");

/* Slots that nobody has, for anyone … */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1);
	__type(value, __u32);
} ordinary SEC(".maps");

/* … and for those who are listed. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1);
	__type(value, __u32);
} reserved SEC(".maps");

/* Addresses with reserved room. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u32);
} listed SEC(".maps");

/* From the index of an interface to the number of its books. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} interfaces SEC(".maps");

/* At number * columns + column. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct books);
} all_books SEC(".maps");

/* By the number of its books. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct holding);
} held SEC(".maps");

/*
 * Where sources were last found, by a hash of their own: two slots in each word, the newer one in its lower half. A slot
 * here is a guess, to be believed only if its owner says so.
 */
#define GUESS_BITS 15
__u64 guesses[1 << GUESS_BITS];

/* What a buffer stands for on the wire. */
struct wire {
	__u64 frames;
	__u64 bytes;
};

static __always_inline __u32 column(void)
{
	__u32 cpu = bpf_get_smp_processor_id();
	return cpu < columns - 1 ? cpu : columns - 1;
}

static __always_inline void add(__u64 *to, __u64 value, __u32 column)
{
	if (column < undisturbed)
		*to += value;
	else
		__sync_fetch_and_add(to, value);
}

/* A number of the network's byte order, as it was loaded, and back. */
static __always_inline __u16 be16(__u16 number)
{
	return __builtin_bswap16(number);
}

/* Bytes of the hop-by-hop header with nothing but a jumbo payload option in it. */
#define JUMBO_BYTES 8

/*
 * Whether the kernel put a jumbo payload option into this IPv6 super-frame: it does so beyond 64 KiB, and takes it
 * out again when the super-frame is cut (include/net/ipv6.h, ipv6_has_hopopt_jumbo; RFC 2675).
 */
static __always_inline bool has_jumbo_option(struct __sk_buff *skb)
{
	__u8 next, option[3];
	__u16 type;

	return skb->len > 65536 &&
	       !bpf_skb_load_bytes(skb, TYPE_OFFSET, &type, sizeof(type)) && type == be16(0x86dd) &&
	       !bpf_skb_load_bytes(skb, ETHERNET_HEADER + 6, &next, 1) && next == 0 &&
	       !bpf_skb_load_bytes(skb, ETHERNET_HEADER + 40, option, sizeof(option)) &&
	       option[0] == PROTOCOL_TCP && option[1] == 0 && option[2] == 0xc2;
}

/* Where the transport header is, and which; beginning at an Ethernet header. False if there is none. */
static __noinline bool find_transport(struct __sk_buff *skb, __u32 ethernet, __u32 *transport, __u8 *protocol)
{
	__u32 at = ethernet + TYPE_OFFSET;
	__u16 type;
	__u8 byte;

	if (bpf_skb_load_bytes(skb, at, &type, sizeof(type)))
		return false;
	/* 802.1Q and 802.1ad tags are four bytes each; the kernel gives up at eight of them. */
#pragma unroll
	for (int tags = 0; tags < 8; tags++) {
		if (type != be16(0x8100) && type != be16(0x88a8))
			break;
		at += 4;
		if (bpf_skb_load_bytes(skb, at, &type, sizeof(type)))
			return false;
	}
	at += sizeof(type);
	if (type == be16(0x0800)) {
		if (bpf_skb_load_bytes(skb, at, &byte, 1) || bpf_skb_load_bytes(skb, at + 9, protocol, 1))
			return false;
		*transport = at + (byte & 15) * 4;
		return true;
	}
	if (type != be16(0x86dd) || bpf_skb_load_bytes(skb, at + 6, protocol, 1))
		return false;
	at += 40;
	/* Hop-by-hop, routing, destination options (RFC 8200, 4): units of eight bytes beyond the first. */
#pragma unroll
	for (int extensions = 0; extensions < 4; extensions++) {
		__u8 extension[2];

		if (*protocol != 0 && *protocol != 43 && *protocol != 60)
			break;
		if (bpf_skb_load_bytes(skb, at, extension, sizeof(extension)))
			return false;
		*protocol = extension[0];
		at += (extension[1] + 1) * 8;
	}
	*transport = at;
	return true;
}

/* Bytes of the headers that each segment repeats; 0 if they cannot be measured. */
static __noinline __u32 repeated_headers(struct __sk_buff *skb, __u32 ethernet, __u8 *protocol)
{
	__u32 transport = 0;
	__u8 words;

	if (!find_transport(skb, ethernet, &transport, protocol))
		return 0;
	if (*protocol == PROTOCOL_UDP)
		return transport + 8;
	/* RFC 9293, 3.1: the data offset counts 32-bit words. */
	if (*protocol != PROTOCOL_TCP || bpf_skb_load_bytes(skb, transport + 12, &words, 1))
		return 0;
	return transport + (words >> 4) * 4;
}

/* How many bytes after the UDP header the frame inside a tunnel begins; 0 if it is none that we know. */
static __always_inline __u32 tunnel_header(struct __sk_buff *skb, __u32 payload)
{
	__u16 port;
	__u8 flags;

	if (bpf_skb_load_bytes(skb, payload - 6, &port, sizeof(port)))
		return 0;
	switch (be16(port)) {
	case 4789: /* VXLAN, RFC 7348 */
	case 8472: /* VXLAN, Linux before the RFC, and still its default */
		return 8;
	case 6081: /* Geneve, RFC 8926: the length of its options counts 32-bit words */
		if (bpf_skb_load_bytes(skb, payload, &flags, 1))
			return 0;
		return 8 + (flags & 0x3f) * 4;
	}
	return 0;
}

/* A buffer of many segments, each of which goes over the wire with headers of its own. */
static __noinline int super_frame(struct __sk_buff *skb, struct wire *wire)
{
	__u32 size = skb->gso_size, segments = skb->gso_segs, length = skb->len, headers, tunnel;
	__u32 jumbo = has_jumbo_option(skb) ? JUMBO_BYTES : 0;
	__u8 protocol = 0;

	headers = repeated_headers(skb, 0, &protocol);
	if (headers && protocol == PROTOCOL_UDP) {
		tunnel = tunnel_header(skb, headers);
		if (tunnel) {
			__u32 inner = repeated_headers(skb, headers + tunnel, &protocol);

			headers = inner ? inner : headers;
		}
	}
	if (headers >= jumbo)
		headers -= jumbo;
	length -= jumbo;
	/* Guests may leave the number of segments out; what can be measured is believed rather than what is said. */
	if (headers && headers < length && size != GSO_BY_FRAGS) {
		segments = (length - headers + size - 1) / size;
	} else if (!headers) {
		headers = ETHERNET_HEADER;
		if (!segments && length > headers)
			segments = (length - headers + size - 1) / size;
	}
	if (!segments)
		segments = 1;
	wire->frames = segments;
	wire->bytes = length + (__u64)(segments - 1) * headers;
	return 0;
}

/* What is read twice may be another source's the second time. */
static __always_inline __u32 read_once(const __u32 *slot)
{
	return *(const volatile __u32 *)slot;
}

/* What is read twice need not be kept on the stack meanwhile. */
static __always_inline __u32 again(const __u32 *field)
{
	return *(const volatile __u32 *)field;
}

static __always_inline bool is_of(const struct owner *owner, __u64 address, __u32 interface)
{
	return (*(const volatile __u64 *)&owner->address & SOURCE_MASK) == address &&
	       read_once(&owner->interface) == interface;
}

/* Whether a slot that was found in the hash is this source's. It is nobody else's before this run ends. */
static __always_inline bool is_owned(__u32 slot, const struct source *source)
{
	struct word key = { .at = slot };
	struct owner *owner = bpf_map_lookup_elem(&owners, &key.at);

	return owner && is_of(owner, source->address, source->interface) && !(read_once(&owner->state) & LEAVING);
}

/*
 * The same for a guess, which may be somebody else's at any time, until it has been seen settled: from there on, the
 * grace period before the slot is given away again waits for this run. So what it is like is asked first.
 */
static __always_inline bool is_settled(struct word *key, __u64 address, struct __sk_buff *skb)
{
	struct owner *owner = bpf_map_lookup_elem(&owners, &key->at);
	__u64 state;

	if (!owner)
		return false;
	state = read_once(&owner->state);
	/* A source that is just being inserted may yet turn out to have another slot. */
	if (!(state & (ORDINARY | RESERVED)) || (state & LEAVING))
		return false;
	/* No CPU loads ahead of a load that it has the address from; an acquire takes Linux 6.15. */
	asm volatile("%0 &= 0" : "+r"(state));
	return is_of((struct owner *)((char *)owner + state), address, again(&skb->ifindex));
}

/*
 * The guesses where a source is. To be used before the next call: Linux 6.12 loses the bounds of such a pointer when it
 * has been kept on the stack.
 */
static __always_inline __u64 *guesses_of(__u64 address, __u64 interface)
{
	__u64 number = address ^ interface << 48;

	/* A multiplicative hash. The factor is what nobody knows: with a known one, some differences always collide. */
	return &guesses[number * (seed | 1) >> (64 - GUESS_BITS)];
}

/* Why a source gets no slot. */
#define NO_ROOM -1
/*
 * A lock was held by what this interrupted (Linux before 6.15: EBUSY) or for too long (since: ETIMEDOUT), or the interface
 * is just changing hands. The next frame may get in.
 */
#define REFUSED -2

/* The slot of a source that has none yet, or no more. */
static __always_inline int enter(const struct source *source, __u32 number, bool *is_new)
{
	struct word slot = { .at = 0 }, index = { .at = number };
	__u32 state = RESERVED, *found;
	struct holding *holding;
	struct owner *owner;
	long error;

	if (!bpf_map_lookup_elem(&listed, &source->address) || bpf_map_pop_elem(&reserved, &slot.at)) {
		state = ORDINARY;
		holding = bpf_map_lookup_elem(&held, &index.at);
		/* The cheap look first: in a flood this is where it ends. */
		if (!holding || (__s64)*(volatile __u64 *)&holding->slots >= limit)
			return NO_ROOM;
		/*
		 * The old value is to be had from Linux 5.12 on only. Of two CPUs at the very limit neither may
		 * get in; the next frame does.
		 */
		__sync_fetch_and_add(&holding->slots, 1);
		error = -ENOENT;
		if ((__s64)*(volatile __u64 *)&holding->slots <= limit)
			error = bpf_map_pop_elem(&ordinary, &slot.at);
		if (error) {
			__sync_fetch_and_add(&holding->slots, -1);
			return error == -ENOENT ? NO_ROOM : REFUSED;
		}
	}
	owner = bpf_map_lookup_elem(&owners, &slot.at);
	if (!owner)
		return REFUSED;
	/* Before it can be found. */
	owner->address = source->address | (__u64)number << 48;
	owner->interface = source->interface;
	if (!bpf_map_update_elem(&slots, source, &slot.at, BPF_NOEXIST)) {
		/* User space looks for this. */
		*(volatile __u32 *)&owner->state = state;
		*is_new = true;
		return slot.at;
	}
	/* Another CPU was first, or it was refused. */
	owner->address = 0;
	owner->interface = 0;
	if (state == RESERVED) {
		error = bpf_map_push_elem(&reserved, &slot.at, 0);
	} else {
		error = bpf_map_push_elem(&ordinary, &slot.at, 0);
		/*
		 * Looked up again: without CAP_PERFMON the verifier also walks the way that a CPU takes which mispredicts
		 * where the state was compared, and there the old pointer is none.
		 */
		holding = bpf_map_lookup_elem(&held, &index.at);
		if (holding)
			__sync_fetch_and_add(&holding->slots, -1);
	}
	if (error) {
		*(volatile __u32 *)&owner->state = state << STRAY_SHIFT;
		/* Counted, or user space would not look for it. */
		return REFUSED;
	}
	found = bpf_map_lookup_elem(&slots, source);
	if (!found)
		return REFUSED;
	slot.at = read_once(found);
	return is_owned(slot.at, source) ? slot.at : REFUSED;
}

/* Counts in the slot that the key has, which has the place in the tallies after that. */
static __always_inline void tally(struct word *key, __u64 frames, __u64 bytes)
{
	__u32 mine = column();
	struct tally *tally;
	__u64 now;

	key->at += mine * rows;
	tally = bpf_map_lookup_elem(&tallies, &key->at);
	if (!tally)
		return;
	now = bpf_ktime_get_coarse_ns();
	if (!tally->frames)
		tally->first = now;
	tally->last = now;
	add(&tally->frames, frames, mine);
	add(&tally->bytes, bytes, mine);
}

/* A frame of nobody who has a slot. What it returns is how much of the frame user space gets to read. */
static __noinline int stranger(struct __sk_buff *skb, const struct source *source, const struct wire *wire)
{
	__u32 mine = column(), *found, number;
	struct holding *holding;
	struct books *books;
	struct word key;
	bool is_new = false;
	int slot = -1;

	found = bpf_map_lookup_elem(&interfaces, &source->interface);
	if (!found)
		return 0;
	number = read_once(found);
	key.at = number * columns + mine;
	books = bpf_map_lookup_elem(&all_books, &key.at);
	if (!books)
		return 0;
	if (skb->len < ETHERNET_HEADER) {
		add(&books->runts, 1, mine);
		return 0;
	}
	slot = enter(source, number, &is_new);
	if (slot < 0) {
		/* Before they are untracked: these are never more than those, whoever reads both. */
		key.at = number;
		if (slot == REFUSED && (holding = bpf_map_lookup_elem(&held, &key.at)))
			__sync_fetch_and_add(&holding->refused, wire->frames);
		add(&books->untracked_frames, wire->frames, mine);
		add(&books->untracked_bytes, wire->bytes, mine);
		return 0;
	}
	key.at = slot;
	tally(&key, wire->frames, wire->bytes);
	if (!is_new)
		return 0;
	add(&books->arrivals, 1, mine);
	return ETHERNET_HEADER;
}

/*
 * A frame that is not found where its source was last, or not one frame. It is a function of its own to spare the others
 * what it keeps on the stack: see count.
 */
static __noinline int long_way(struct __sk_buff *skb)
{
	/* Written in whole words, see struct word. */
	union {
		__u64 words[2];
		struct source source;
	} at = { .words = { 0, skb->ifindex } };
	struct wire wire = { .frames = 1, .bytes = skb->len };
	struct word key = { .at = 0 };
	__u32 *found, slot;
	__u64 *guess, newest;

	/* A runt has no source. */
	if (skb->len < ETHERNET_HEADER || bpf_skb_load_bytes(skb, SOURCE_OFFSET, &at.source.address, 6))
		return stranger(skb, &at.source, &wire);
	if (skb->gso_size)
		super_frame(skb, &wire);
	found = bpf_map_lookup_elem(&slots, &at.source);
	if (!found)
		return stranger(skb, &at.source, &wire);
	slot = read_once(found);
	/* Forgotten while it was looked up? */
	if (!is_owned(slot, &at.source))
		return stranger(skb, &at.source, &wire);
	guess = guesses_of(at.source.address, at.source.interface);
	newest = *guess;
	/* A super-frame has not asked there. */
	if ((__u32)newest != slot && newest >> 32 != slot)
		*guess = newest << 32 | slot;
	key.at = slot;
	tally(&key, wire.frames, wire.bytes);
	return 0;
}

/* Classic BPF's way to the packet: no call of a helper, and the program ends where there is nothing to read. */
unsigned long long load_half(void *skb, unsigned long long at) asm("llvm.bpf.load.half");
unsigned long long load_word(void *skb, unsigned long long at) asm("llvm.bpf.load.word");

/*
 * What nearly all frames go through. Without CAP_PERFMON the kernel puts a speculation barrier behind the first store into
 * each eight bytes of the stack, and each costs as much as all that this does otherwise. So it keeps there what the
 * kernel wants to be there, one key, and nothing else.
 */
SEC("socket")
int count(struct __sk_buff *skb)
{
	__u64 address, newest;
	struct word key;

	if (direction == DIRECTION_IN && skb->pkt_type == PACKET_OUTGOING)
		return 0;
	if (direction == DIRECTION_OUT && skb->pkt_type != PACKET_OUTGOING)
		return 0;
	if (skb->len < ETHERNET_HEADER || skb->gso_size)
		return long_way(skb);
	/* The loads are of big-endian numbers; an address is kept as it lies in the frame. */
	address = __builtin_bswap64(load_half(skb, SOURCE_OFFSET) << 32 | load_word(skb, SOURCE_OFFSET + 2)) >> 16;
	newest = *guesses_of(address, again(&skb->ifindex));
	key.at = newest;
	if (!is_settled(&key, address, skb)) {
		key.at = newest >> 32;
		if (!is_settled(&key, address, skb))
			return long_way(skb);
	}
	tally(&key, 1, again(&skb->len));
	return 0;
}

char _license[] SEC("license") = "MIT OR Apache-2.0";
