"""Sends twenty small files with pyinfra."""

from pyinfra import host
from pyinfra.operations import files

for number in range(20):
    files.put(src=f"small/{number}", dest=f"/srv/{host.name}/{number}")
