#!/bin/sh
# The first process of a local server: prepares it, starts what starts at boot, and stays.

# The container's cgroups come read-only; an engine inside must make its own below them.
awk '$5 ~ "^/sys/fs/cgroup" { print $5 }' /proc/self/mountinfo | while read -r mount; do
    mount -o remount,bind,rw "$mount"
done
# cgroup v2: a group with processes in it cannot hand controllers down, so these step aside.
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir -p /sys/fs/cgroup/init
    xargs -rn1 </sys/fs/cgroup/cgroup.procs >/sys/fs/cgroup/init/cgroup.procs 2>/dev/null
    sed 's/ / +/g; s/^/+/' </sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
fi

# Each server has a host key of its own, made at its first boot.
[ -f /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key

for home in /root /home/admin; do
    owner=$(stat -c %U "$home")
    install -d -m 700 -o "$owner" "$home/.ssh"
    printf '%s\n' "$HITC_AUTHORIZED_KEY" >"$home/.ssh/authorized_keys"
    chown "$owner" "$home/.ssh/authorized_keys"
    chmod 600 "$home/.ssh/authorized_keys"
done

# What is enabled for the boot before the network is up: the firewall.
for script in /etc/rcS.d/S??hitc-*; do
    [ -e "$script" ] && "$script" start
done

# An engine that was enabled comes back with the server. Its init script would raise limits that
# a container may not raise.
rm -f /var/run/docker.pid /var/run/docker/containerd/containerd.pid
if ls /etc/rc2.d/S??docker >/dev/null 2>&1; then
    setsid dockerd >>/var/log/docker.log 2>&1 </dev/null &
fi

# What hitc enabled for the boot.
for script in /etc/rc2.d/S??hitc-*; do
    [ -e "$script" ] && "$script" start
done

mkdir -p /run/sshd
/usr/sbin/sshd -D &

# A first process takes no signal that it does not ask for, and buries the dead.
trap 'kill -TERM -1; exit 0' TERM INT
while :; do
    wait
    sleep 1
done
