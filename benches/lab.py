"""What the load scripts share: a namespace, the generator, processes that end with the script.

Everything that is made has this process's number in its name and is taken away again, also after Ctrl-C.
"""

import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

# The generator has one CPU, what it is measured with the other.
GENERATOR_CPU = 0
TAP_CPU = 1

# Command or file, and the Debian packages that bring it.
NEEDED = {
    "clang-16": "clang-16",
    "gcc": "gcc libc6-dev",
    "ld": "binutils",
    "ip": "iproute2",
    "curl": "curl",
    "taskset": "util-linux",
    "/usr/include/bpf/libbpf.h": "libbpf-dev",
}

POLICY = Path("/usr/sbin/policy-rc.d")


def say(text):
    print(f"{Path(sys.argv[0]).name}: {text}", file=sys.stderr)


def die(text):
    say(text)
    sys.exit(1)


def prepare(more=()):
    """Installs what is missing from Debian's packages."""
    if os.geteuid() != 0:
        die("namespaces and BPF want root")
    needed = dict(NEEDED, **dict(more))
    os.environ["PATH"] += ":/usr/sbin:/sbin:" + os.environ.get("CARGO_HOME", str(Path.home() / ".cargo")) + "/bin"
    missing = [
        package
        for what, packages in needed.items()
        if not (Path(what).exists() if what.startswith("/") else shutil.which(what))
        for package in packages.split()
    ]
    if not missing:
        return
    if not shutil.which("apt-get"):
        die(f"install the equivalents of these Debian packages: {' '.join(missing)}")
    say(f"installing: {' '.join(missing)}")
    # Debian starts a service when its package is installed; what we install is for the measurement alone. A policy
    # that is there already is the owner's, and stays.
    ours = not POLICY.exists()
    try:
        if ours:
            POLICY.write_text("#!/bin/sh\nexit 101\n")
            POLICY.chmod(0o755)
        environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        for command in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *missing]):
            subprocess.run(["apt-get", *command], env=environment, stdout=sys.stderr, check=True)
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)


def build_macwatch():
    """The release binary."""
    manifest = str(ROOT / "Cargo.toml")
    subprocess.run(["cargo", "build", "--quiet", "--release", "--manifest-path", manifest], check=True)
    command = ["cargo", "metadata", "--no-deps", "--format-version", "1", "--manifest-path", manifest]
    metadata = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    target = re.search(r'"target_directory":"([^"]*)"', metadata).group(1)
    return f"{target}/release/macwatch"


def machine():
    """One line that says where this was measured, and how busy it was."""
    cpus, load = os.cpu_count(), "%.1f %.1f %.1f" % os.getloadavg()
    return (
        f"Linux {platform.release()}, {cpus} CPUs, load average {load}; "
        f"generator on CPU {GENERATOR_CPU}, taps on CPU {TAP_CPU}"
    )


def spread(values, digits=0):
    """Median, and the lowest and highest."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


class Process:
    """A program in the lab."""

    def __init__(self, lab, command, stdout, stderr):
        self.child = subprocess.Popen(
            ["ip", "netns", "exec", lab.namespace, "taskset", "-c", str(TAP_CPU), *command],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
        # Both of the above replace themselves: this is the program's own number.
        self.pid = self.child.pid
        self.name = command[0]

    def pids(self):
        """Its own, and those of its children."""
        children = [
            int(child)
            for task in Path(f"/proc/{self.pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
        return [self.pid, *children]

    def cpu_ns(self):
        """User and system time so far, of all threads, ended ones included (clock_getcpuclockid(3))."""
        return sum(time.clock_gettime_ns(~pid << 3 | 2) for pid in self.pids())

    def settle(self):
        """Waits until it has nothing more to do."""
        before, quiet = self.cpu_ns(), 0
        deadline = time.monotonic() + 120
        while quiet < 4:
            if time.monotonic() > deadline:
                die(f"{self.name} does not come to rest")
            time.sleep(0.1)
            now = self.cpu_ns()
            quiet = quiet + 1 if now - before < 1_000_000 else 0
            before = now

    def wait_bound(self, sockets):
        """Waits until so many packet sockets of the namespace are bound to an interface."""
        deadline = time.monotonic() + 30
        while True:
            if self.child.poll() is not None:
                die(f"{self.name} ended with {self.child.returncode}")
            # The columns: address, references, type, protocol, interface.
            lines = Path(f"/proc/{self.pid}/net/packet").read_text().splitlines()[1:]
            # Until ip(8) has changed over, these are the sockets of the namespace outside.
            inside = os.readlink(f"/proc/{self.pid}/ns/net") != os.readlink("/proc/self/ns/net")
            if inside and sum(line.split()[4] != "0" for line in lines) >= sockets:
                return
            if time.monotonic() > deadline:
                die(f"{self.name} does not listen")
            time.sleep(0.02)

    def status(self, field):
        """A number of /proc/PID/status."""
        return int(re.search(rf"^{field}:\s*(\d+)", Path(f"/proc/{self.pid}/status").read_text(), re.M).group(1))

    def stop(self, number=signal.SIGTERM):
        """Ends it and waits for that."""
        if self.child.poll() is None:
            self.child.send_signal(number)
            try:
                self.child.wait(60)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        return self.child.returncode


class Lab:
    """A namespace with pairs of interfaces, in which nothing is sent but what is asked for."""

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: sys.exit(128 + number))
        self.namespace = f"macwatch-bench-{os.getpid()}"
        self.scratch = Path(tempfile.mkdtemp(prefix="macwatch-bench-"))
        self.processes = []
        self.files = []
        self.count = 0
        try:
            self.build_generator()
            subprocess.run(["ip", "netns", "add", self.namespace], check=True)
            # No IPv6 that announces itself; a kernel without it has nothing to turn off.
            off = "for which in all default; do echo 1 >/proc/sys/net/ipv6/conf/$which/disable_ipv6; done 2>/dev/null"
            self.run("sh", "-c", f"{off} || true")
            self.run("ip", "link", "set", "lo", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.stop()
        subprocess.run(["ip", "netns", "del", self.namespace], stderr=subprocess.DEVNULL, check=False)
        for file in self.files:
            file.close()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def run(self, *command):
        """What a command prints in the namespace."""
        command = ["ip", "netns", "exec", self.namespace, *command]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    def build_generator(self):
        """One file: the kernel's half is within."""
        folder, out = HERE / "framegen", self.scratch
        include = f"-I/usr/include/{platform.machine()}-linux-gnu"
        for command in (
            ["clang-16", "-O2", "-g", "-Wall", "-target", "bpf", include, "-c", folder / "framegen.bpf.c",
             "-o", "framegen.bpf.o"],
            ["ld", "-r", "-b", "binary", "-z", "noexecstack", "-o", "object.o", "framegen.bpf.o"],
            ["gcc", "-O2", "-Wall", "-Wextra", "-o", "framegen", folder / "framegen.c", "object.o", "-lbpf"],
        ):
            subprocess.run(command, cwd=out, check=True)

    def add_wires(self, most):
        """Pairs of interfaces, wire1 to wire{most}; frames arrive on these, and nothing is on their other ends."""
        lines = []
        while self.count < most:
            self.count += 1
            lines += [
                f"link add end{self.count} type veth peer name wire{self.count}",
                f"link set end{self.count} up",
                f"link set wire{self.count} up",
            ]
        batch = self.scratch / "wires"
        batch.write_text("\n".join(lines) + "\n")
        self.run("ip", "-batch", str(batch))

    def inject(self, frames, sources=256, size=60, wire=1, first=0):
        """Sends frames; nanoseconds of CPU for each of them, and seconds that passed."""
        output = self.run(
            "taskset", "-c", str(GENERATOR_CPU), str(self.scratch / "framegen"), "-u", "-i", f"wire{wire}",
            "-n", str(frames), "-s", str(sources), "-l", str(size), "-f", str(first),
        )
        said = dict(word.split("=") for word in output.split())
        if int(said["frames"]) != frames:
            die(f"the generator sent {said['frames']} of {frames} frames")
        return float(said["ns_per_frame"]), float(said["seconds"])

    def start(self, *command):
        """Starts a program on the taps' CPU; what it prints is in the files `out` and `log`."""
        out, log = (open(self.scratch / name, "w", encoding="utf-8") for name in ("out", "log"))
        self.files += [out, log]
        process = Process(self, [str(part) for part in command], out, log)
        self.processes.append(process)
        return process

    def output(self, name="out"):
        """What the last program printed."""
        return (self.scratch / name).read_text(encoding="utf-8", errors="replace")


class Macwatch:
    """The program under test."""

    def __init__(self, lab, binary, engine, options=(), wires=1):
        # The environment may hold options of another macwatch.
        for name in [name for name in os.environ if name.startswith("MACWATCH_")]:
            del os.environ[name]
        self.lab = lab
        self.process = lab.start(
            binary, "--interface", "wire*", "--capture.engine", engine, "--web.listen-address", "127.0.0.1:10148",
            *options,
        )
        try:
            self.process.wait_bound(wires)
        except SystemExit:
            sys.stderr.write(lab.output("log"))
            raise
        self.process.settle()

    def page(self):
        """The metrics page."""
        return self.lab.run("curl", "--silent", "--fail", "--max-time", "60", "http://127.0.0.1:10148/metrics")

    def stop(self):
        self.process.stop()


def metric(page, name):
    """The sum of an interface's metric over all interfaces, or the value of another one."""
    found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", page, re.M)
    return sum(float(value) for value in found)


def limits(sources):
    """Options that give so many sources room."""
    return ["--sources.max", "65536", "--sources.max-total", "65536"] if sources > 1024 else []
