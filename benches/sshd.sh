#!/bin/sh
# sshd.sh PORT LIGHT NAME: prepares the benchmark: the files to transfer; sshd on PORT, in a container
# of this name on the network of the host; the mock SSH server on the port LIGHT; and proxies on
# PORT + 20, PORT + 100, LIGHT + 20 and LIGHT + 100 with a round trip of 20 and 100 ms.
set -eu
port=$1 light=$2 name=$3
mkdir -p target/bench/ssh/home/.ssh target/bench/ssh/small
cd target/bench/ssh
[ -f key ] || ssh-keygen -q -t ed25519 -N '' -f key
[ -f host ] || ssh-keygen -q -t ed25519 -N '' -f host
[ -f big ] || head -c 268435456 /dev/urandom >big
for n in $(seq 0 19); do head -c 1024 /dev/urandom >small/$n; done
cp key home/.ssh/id_ed25519
: >home/.ssh/known_hosts
cp ../../../benches/peers/* .
cat >sshd_config <<END
Port $port
HostKey /bench/host
AuthorizedKeysFile /bench/key.pub
StrictModes no
UsePAM no
MaxStartups 2000
PerSourcePenalties no
PidFile none
Subsystem sftp internal-sftp
END
image=$(docker image ls --format '{{.Repository}}:{{.Tag}}' | grep '^hitc/debian-13:' | head -n 1)
docker rm -f "$name" >/dev/null 2>&1 || true
docker run -d --name "$name" --network host --tmpfs /srv:size=2g -v "$PWD":/bench --entrypoint sh "$image" \
    -c 'mkdir -p /run/sshd; usermod -s /bin/sh root; exec /usr/sbin/sshd -D -f /bench/sshd_config' >/dev/null
pkill -f '[r]elease/examples/(delay|light)' || true
background() { nohup "$@" >/dev/null 2>&1 </dev/null & }
background ../../release/examples/light "$light"
for delay in 20 100; do
    background ../../release/examples/delay $((port + delay)) "$port" $delay
    background ../../release/examples/delay $((light + delay)) "$light" $delay
done
for try in $(seq 50); do
    ssh-keyscan -p "$port" 127.0.0.1 2>/dev/null | grep -q . && break
    sleep 0.1
done
# Ansible's modules need Python.
docker exec "$name" sh -c 'command -v python3 >/dev/null || {
    apt-get update -qq && apt-get install -qqy python3-minimal; } >/dev/null 2>&1'
