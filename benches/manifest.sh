#!/bin/sh
# Prints a manifest of $1 servers with five containers each, which refer to servers and containers.
awk -v servers="$1" 'BEGIN {
    for (s = 0; s < servers; s++) {
        printf "s%d:\n  provider: local\n  size: 1x512m\n  containers:\n", s
        for (c = 0; c < 5; c++) {
            printf "    c%d:\n      image: app:1\n", c
            printf "      ports: [\"80:%d\"]\n", 8080 + c
            printf "      environment:\n        HOST: ${host.name}\n"
            if (s > 0) printf "        BEFORE: ${s%d.internal_ip}\n", s - 1
            if (c > 0) printf "        OTHER: ${host.containers.c%d.ip}\n", c - 1
        }
    }
}'
