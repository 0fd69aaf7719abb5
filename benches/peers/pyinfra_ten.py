"""Runs ten commands with pyinfra."""

from pyinfra.operations import server

for number in range(10):
    server.shell(name=str(number), commands=["true"])
