"""Becomes a container of a pod, as far as one machine can play the kubelet and the container runtime.

On stdin JSON: the pod's spec, its container, the program that the image would hold, folders on this machine that stand
for volumes, the values of the downward API, a seccomp profile (containers/common's format), and a folder to make the
container's root in. Runs in a network and a mount namespace of its own.
"""

import json
import os
import re
import subprocess
import sys

import seccomp

asked = json.load(sys.stdin)
container, root = asked["container"], asked["root"]
security = container["securityContext"]


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


def bind(source, target, *options):
    """Shows a file or folder of this machine in the container."""
    path = root + target
    if os.path.isdir(source):
        os.makedirs(path, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "w").close()
    mount("--bind", source, path)
    mount("-o", ",".join(["remount", "bind", "nosuid", *options]), path)


# What an image brings; the libraries are those of this machine.
mount("-t", "tmpfs", "image", root)
for folder in ["/usr", "/proc", "/sys", "/dev"]:
    bind(folder, folder, "ro")
for link in ["/lib", "/lib64", "/bin", "/sbin"]:
    if os.path.islink(link):
        os.symlink(os.readlink(link), root + link)
    elif os.path.isdir(link):
        bind(link, link, "ro")
bind(asked["program"], "/macwatch", "ro")
for volume in container["volumeMounts"]:
    read_only = volume.get("readOnly") or "configMap" in next(
        one for one in asked["pod"]["volumes"] if one["name"] == volume["name"]
    )
    bind(asked["volumes"][volume["name"]], volume["mountPath"], "ro" if read_only else "rw")
if security["readOnlyRootFilesystem"]:
    mount("-o", "remount,ro", root)

environment = {"PATH": "/usr/bin:/usr/sbin"}
for variable in container["env"]:
    field = variable.get("valueFrom", {}).get("fieldRef")
    environment[variable["name"]] = asked["fields"][field["fieldPath"]] if field else variable["value"]
arguments = [
    re.sub(r"\$\(([A-Z_]+)\)", lambda match: environment[match[1]], argument) for argument in container["args"]
]

# In this order a runtime does it too: the root, the filter, identity and capabilities, the program.
capabilities = security["capabilities"]
assert capabilities["drop"] == ["ALL"]
allowed = {"CAP_" + name for name in capabilities["add"]}
os.chroot(root)
os.chdir("/")
setpriv = ["setpriv", f"--reuid={security['runAsUser']}", f"--regid={security['runAsGroup']}", "--clear-groups"]
bounding = ",".join(["-all", *("+" + name.lower() for name in capabilities["add"])])
setpriv += ["--inh-caps=-all", f"--bounding-set={bounding}", "--ambient-caps=-all"]
if not security["allowPrivilegeEscalation"]:
    setpriv.append("--no-new-privs")

assert security["seccompProfile"] == {"type": "RuntimeDefault"}
profile = asked["profile"]
ACTIONS = {"SCMP_ACT_ALLOW": lambda _: seccomp.ALLOW, "SCMP_ACT_ERRNO": lambda rule: seccomp.ERRNO(rule["errnoRet"])}
COMPARE = {"SCMP_CMP_EQ": seccomp.EQ, "SCMP_CMP_NE": seccomp.NE, "SCMP_CMP_MASKED_EQ": seccomp.MASKED_EQ}
refused = ACTIONS[profile["defaultAction"]]({"errnoRet": profile["defaultErrnoRet"]})
rules = seccomp.SyscallFilter(refused)
rules.set_attr(seccomp.Attr.CTL_NNP, 0)
for rule in profile["syscalls"]:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine)
    if not set(includes.get("caps", [])) <= allowed or set(excludes.get("caps", [])) & allowed:
        continue
    if "arches" in includes and machine not in includes["arches"] or machine in excludes.get("arches", []):
        continue
    comparisons = []
    for one in rule.get("args") or []:
        operands = [one["value"]]
        if one["op"] == "SCMP_CMP_MASKED_EQ":
            operands.append(one.get("valueTwo", 0))
        comparisons.append(seccomp.Arg(one["index"], COMPARE[one["op"]], *operands))
    for name in rule["names"]:
        action = ACTIONS[rule["action"]](rule)
        # What this machine's libseccomp does not know by name stays refused.
        if seccomp.resolve_syscall(seccomp.Arch(), name) != -1 and action != refused:
            rules.add_rule(action, name, *comparisons)
rules.load()
os.execvpe("setpriv", [*setpriv, "--", "/macwatch", *arguments], environment)
