"""fabric_run.py WORK HOSTS KEY PORT: runs a workload of the benchmark with Fabric's ThreadingGroup."""

import sys
from concurrent.futures import ThreadPoolExecutor

from fabric import ThreadingGroup

work, hosts, key, port = sys.argv[1:5]
group = ThreadingGroup(
    *open(hosts).read().split(),
    user="root",
    port=int(port),
    connect_kwargs={"key_filename": key, "allow_agent": False, "look_for_keys": False},
)
if work == "cold":
    group.run("true", hide=True)
elif work == "ten":
    for _ in range(10):
        group.run("true", hide=True)
elif work == "files":
    # Each host has a folder of its own, which a group does not support.
    def send(connection):
        connection.run(f"mkdir -p /srv/{connection.host}", hide=True)
        for number in range(20):
            connection.put(f"small/{number}", f"/srv/{connection.host}/{number}")

    with ThreadPoolExecutor(len(group)) as pool:
        list(pool.map(send, group))
elif work == "big":
    group.put("big", "/srv/big")
