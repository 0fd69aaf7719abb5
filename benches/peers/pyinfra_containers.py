"""The containers of `bench.unchanged`, beside those of hitc."""

import os

from pyinfra.operations import docker

for number in range(10):
    docker.container(
        container=f"pyinfra{number}",
        image=os.environ["IMAGE"],
        env_vars=[f"NUMBER={number}"],
        ports=[f"{9000 + number}:80"],
        present=True,
        start=True,
    )
