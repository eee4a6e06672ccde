/* What the two halves of the generator share: the one variable of the BPF program. */
#ifndef FRAMEGEN_H
#define FRAMEGEN_H

#include <linux/types.h>

struct generator {
	__u32 first;   /* number of the first source */
	__u32 sources; /* how many there are */
	__u64 random;  /* state of the random numbers; not zero */
	__u64 passed;  /* frames handed to the receive path so far */
};

#endif
