#!/usr/bin/env python3
"""follow.py LINES COMMAND...: runs a command that follows logs, and checks that every source's lines
`N text` come without gaps up to LINES. Prints as JSON the lines, those that are missing or out of order,
the seconds from the first line to the last, the CPU time and peak memory of the command, and how long it
takes to end after SIGINT."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time

wanted = int(sys.argv[1])
child = subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, bufsize=1 << 20)
line_form = re.compile(rb"\[([^\]]+)\] (\d+) ")
next_line, wrong, count, first = {}, 0, 0, None
for line in child.stdout:
    found = line_form.match(line)
    if first is None:
        first = time.monotonic()
    source, number = found[1], int(found[2])
    if number != next_line.get(source, 0):
        wrong += 1
    next_line[source] = number + 1
    count += 1
    if number + 1 == wanted and all(n == wanted for n in next_line.values()):
        break
took = time.monotonic() - first
with open(f"/proc/{child.pid}/status") as status:
    peak = next(int(l.split()[1]) for l in status if l.startswith("VmHWM"))
started = time.monotonic()
os.kill(child.pid, signal.SIGINT)
child.wait()
ended = time.monotonic() - started
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(
    json.dumps(
        {
            "sources": len(next_line),
            "lines": count,
            "wrong": wrong,
            "seconds": round(took, 1),
            "cpu": round(used.ru_utime + used.ru_stime, 2),
            "memory": round(peak / 1024, 1),
            "ctrl_c": round(ended, 3),
        }
    )
)
