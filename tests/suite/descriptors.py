"""Allows so many open files and no more: `descriptors.py MOST PROGRAM ARGUMENTS`.

What this process inherited is closed first: how many are left does not hang on who runs the tests.
"""

import os
import resource
import sys

most, *program = sys.argv[1:]
os.closerange(3, 1 << 16)
resource.setrlimit(resource.RLIMIT_NOFILE, (int(most), int(most)))
os.execv(program[0], program)
