#!/bin/sh -e
# Where applications keep their data.
mkdir -p /srv/data
chmod 750 /srv/data
