#!/usr/bin/env python3
"""measure.py SECONDS COMMAND...: runs a command, and prints as JSON how long it took, how much of a
processor it and its children used, in seconds, and how much memory they had at most, in MB."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time


def family(root):
    """The process and all its descendants."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as stat:
                    parent = int(stat.read().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(name))
    found, wait = [], [root]
    while wait:
        pid = wait.pop()
        found.append(pid)
        wait.extend(children.get(pid, []))
    return found


def memory(root):
    """What they have in common counts once."""
    total = 0
    for pid in family(root):
        try:
            with open(f"/proc/{pid}/smaps_rollup") as lines:
                total += sum(int(l.split()[1]) for l in lines if l.startswith("Pss:"))
        except OSError:
            continue
    return total


limit = float(sys.argv[1])
# What this process has waited for before it became this program does not count.
before = resource.getrusage(resource.RUSAGE_CHILDREN)
begun = time.monotonic()
child = subprocess.Popen(
    sys.argv[2:],
    stdin=subprocess.DEVNULL,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    start_new_session=True,
)
peak = 0


def watch():
    global peak
    while child.returncode is None:
        begun_to_look = time.monotonic()
        peak = max(peak, memory(child.pid))
        # Looking takes time, which is missing elsewhere.
        time.sleep(0.01 + 9 * (time.monotonic() - begun_to_look))


threading.Thread(target=watch, daemon=True).start()
said = []
threading.Thread(target=lambda: said.append(child.stderr.read()), daemon=True).start()
late = threading.Event()


def end():
    late.set()
    os.killpg(child.pid, signal.SIGKILL)


timer = threading.Timer(limit, end)
timer.daemon = True
timer.start()
# Waiting with a limit would look only now and then.
status = child.wait()
timer.cancel()
if late.is_set():
    status = "timeout"
wall = time.monotonic() - begun
used = resource.getrusage(resource.RUSAGE_CHILDREN)
time.sleep(0.05)
print(
    json.dumps(
        {
            "status": status,
            "wall": round(wall, 3),
            "cpu": round(
                used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime, 3
            ),
            "memory": round(peak / 1024, 1),
            "stderr": b"".join(said).decode(errors="replace")[-400:],
        }
    )
)
