#!/usr/bin/env python3
"""measure.py SECONDS COMMAND...: runs a command with a time limit, and prints as JSON its wall time and
CPU time in seconds, and its peak memory in MB, its children included."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time


def family(root):
    """Returns the process and all its descendants."""
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
    """Returns the proportional set size of all processes in kB, which counts shared pages once."""
    total = 0
    for pid in family(root):
        try:
            with open(f"/proc/{pid}/smaps_rollup") as lines:
                total += sum(int(l.split()[1]) for l in lines if l.startswith("Pss:"))
        except OSError:
            continue
    return total


limit = float(sys.argv[1])
# The usage of children before the command, which does not count.
before = resource.getrusage(resource.RUSAGE_CHILDREN)
started = time.monotonic()
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
        started_sample = time.monotonic()
        peak = max(peak, memory(child.pid))
        # Samples for at most a tenth of the time, because sampling slows down the command.
        time.sleep(0.01 + 9 * (time.monotonic() - started_sample))


threading.Thread(target=watch, daemon=True).start()
stderr = []
threading.Thread(target=lambda: stderr.append(child.stderr.read()), daemon=True).start()
timed_out = threading.Event()


def end():
    timed_out.set()
    os.killpg(child.pid, signal.SIGKILL)


timer = threading.Timer(limit, end)
timer.daemon = True
timer.start()
# Not with a timeout, which would poll and so round the wall time up.
status = child.wait()
timer.cancel()
if timed_out.is_set():
    status = "timeout"
wall = time.monotonic() - started
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
            "stderr": b"".join(stderr).decode(errors="replace")[-400:],
        }
    )
)
