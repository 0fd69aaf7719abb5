"""Sends a large file with pyinfra."""

from pyinfra.operations import files

files.put(src="big", dest="/srv/big")
