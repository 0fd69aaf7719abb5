"""A large file, by pyinfra."""

from pyinfra.operations import files

files.put(src="big", dest="/srv/big")
