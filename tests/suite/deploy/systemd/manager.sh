#!/usr/bin/env bash
# A systemd of one's own: the first process of a process namespace, with a cgroup, mounts, units and state of its own.
# The machine's files are there, and cannot be written. It shares the network namespace that it is started in.
#
#   manager.sh FOLDER
#
# FOLDER holds what is laid over the machine's folders: units, default, bin, config (/run/config); what services write to
# /run/out is in FOLDER/out. Prints the process id of systemd once it takes commands; all of it ends when stdin does.
set -euo pipefail
# Services are users of their own.
umask 022

folder=$1

inside() {
    # A mount of its own, which stays writable.
    mount --bind "$folder/out" "$folder/out"
    mount -o remount,bind,ro /
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    lay() {
        mount -t tmpfs -o "mode=${3-755}" tmpfs "$1"
        if [ -n "$2" ]; then
            cp -r "$folder/$2/." "$1/"
        fi
    }
    lay /etc/systemd/system units
    lay /etc/default default
    lay /usr/local/bin bin
    lay /var/lib ""
    lay /var/tmp "" 1777
    lay /run ""
    mkdir -p /run/config /run/out /run/systemd/system
    cp -r "$folder/config/." /run/config/
    chmod -R a+rX /run/config
    mount --bind "$folder/out" /run/out
    [ -e /dev/console ] && mount --bind "$folder/out/console" /dev/console
    lay /tmp "" 1777
    mount --bind /proc/sys /proc/sys
    mount -o remount,bind,ro /proc/sys
    # In a container it leaves the machine's settings alone. Other units than these there are none.
    exec env -i PATH="$PATH" container=macwatch-test SYSTEMD_UNIT_PATH=/etc/systemd/system \
        /lib/systemd/systemd --system --unit=default.target --log-target=console
}

if [ "${2-}" = inside ]; then
    inside
fi

mkdir "$folder/cgroup"
mount -t cgroup2 cgroup2 "$folder/cgroup"
group=$folder/cgroup/mwtest-$$
mkdir "$group"
end() {
    # bash would tell that what it started was killed.
    exec 2>/dev/null
    echo 1 >"$group/cgroup.kill"
    for try in $(seq 500); do
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
        sleep 0.01
    done
    umount "$folder/cgroup"
}
trap end EXIT
bash -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' - "$group" \
    unshare --mount --pid --ipc --uts --cgroup --fork --kill-child --mount-proc bash "$0" "$folder" inside \
    </dev/null &
for try in $(seq 3000); do
    first=$(ps -o pid= --ppid $! | tr -d ' ') || true
    if [ -n "$first" ] && nsenter --target "$first" --mount test -S /run/systemd/private 2>/dev/null; then
        echo "$first"
        break
    fi
    sleep 0.01
done
read -r _ || true
