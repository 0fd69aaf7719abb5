"""Drives the test server of Hetzner's API with Hetzner's own client, to see that it is faithful."""

import sys
import time

from hcloud import APIException, Client
from hcloud.images import Image
from hcloud.locations import Location
from hcloud.server_types import ServerType

client = Client(token="test-token", api_endpoint=sys.argv[1] + "/v1", poll_interval=0.1)

assert client.server_types.get_by_name("cx33").cores == 4
assert [location.name for location in client.locations.get_all()] == ["fsn1", "nbg1", "ash"]
assert client.images.get_by_name_and_architecture("debian-13", "arm").architecture == "arm"
key = client.ssh_keys.create(name="me", public_key="ssh-ed25519 AAAA me")
assert client.ssh_keys.get_all()[0].public_key == key.public_key


def listed(ask, count):
    """What a list shows, which lags."""
    for _ in range(50):
        found = ask()
        if len(found) == count:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{len(found)} of {count} are listed")


def create(name, labels=None):
    return client.servers.create(
        name=name,
        server_type=ServerType(name="cx23"),
        image=Image(name="debian-13"),
        location=Location(name="nbg1"),
        ssh_keys=[key],
        labels=labels or {},
    )


answer = create("one", {"hitc": "1"})
answer.action.wait_until_finished()
server = client.servers.get_by_id(answer.server.id)
assert server.status == "running" and server.public_net.ipv4.ip.startswith("192.0.2.")
assert server.location.name == "nbg1" and server.server_type.name == "cx23"
assert server.labels == {"hitc": "1"}
try:
    create("one")
    raise AssertionError("a second server of that name")
except APIException as error:
    assert error.code == "uniqueness_error", error.code
try:
    create("two", {"bad key!": "1"})
    raise AssertionError("a bad label")
except APIException as error:
    assert error.code == "invalid_input", error.code

server = server.update(name="uno", labels={"hitc": "2"})
assert listed(lambda: client.servers.get_all(name="uno"), 1)[0].labels == {"hitc": "2"}
try:
    server.change_type(ServerType(name="cx33"), upgrade_disk=False)
    raise AssertionError("a type changed while it runs")
except APIException as error:
    assert error.code == "server_not_stopped", error.code
server.shutdown().wait_until_finished()
server.change_type(ServerType(name="cx33"), upgrade_disk=False).wait_until_finished()
server.power_on().wait_until_finished()
server.reboot().wait_until_finished()
assert client.servers.get_by_id(server.id).server_type.name == "cx33"

made = server.create_image(description="base", type="snapshot", labels={"saved": "1"})
assert made.image.status == "creating" and made.image.created_from.name == server.name
made.action.wait_until_finished()
listed(lambda: client.images.get_all(type="snapshot", label_selector="saved"), 1)
image = client.images.get_by_id(made.image.id)
assert image.status == "available" and image.description == "base" and image.name is None
# A server of the new type has the old disk, which is what an image needs.
assert image.disk_size == 40 and image.architecture == "x86"
image.delete()
listed(lambda: client.images.get_all(type="snapshot", label_selector="saved"), 0)

for n in range(60):
    create(f"n-{n}", {"many": "1"})
listed(lambda: client.servers.get_all(label_selector="many"), 60)
kind = client.server_types.get_by_name("cpx11")
places = {place.location.name: (place.available, place.deprecation) for place in kind.locations}
assert not places["fsn1"][0] and places["nbg1"][1].unavailable_after and places["ash"][0]
pricing = client.request(method="GET", url="/pricing")["pricing"]
assert pricing["currency"] == "EUR" and pricing["primary_ips"][0]["type"] == "ipv4"
# Volumes.
made = client.volumes.create(size=10, name="data", location=Location(name="nbg1"), labels={"hitc": "1"})
made.action.wait_until_finished()
volume = client.volumes.get_by_id(made.volume.id)
assert volume.status == "available" and volume.server is None and volume.linux_device.endswith(str(volume.id))
assert listed(lambda: client.volumes.get_all(label_selector="hitc"), 1)[0].name == "data"


def refused(code, do):
    try:
        do()
    except APIException as error:
        assert error.code == code, error.code
        return
    raise AssertionError(f"not refused: {code}")


refused("uniqueness_error", lambda: client.volumes.create(size=10, name="data", location=Location(name="fsn1")))
refused("invalid_input", lambda: client.volumes.create(size=9, name="small", location=Location(name="fsn1")))
volume.attach(server, automount=False).wait_until_finished()
assert client.volumes.get_by_id(volume.id).server.id == server.id
refused("volume_already_attached", lambda: volume.attach(server))
refused("service_error", lambda: volume.delete())
volume.resize(20).wait_until_finished()
refused("invalid_input", lambda: volume.resize(15))
volume.detach().wait_until_finished()
assert client.volumes.get_by_id(volume.id).size == 20
assert volume.delete()
refused("not_found", lambda: client.volumes.get_by_id(volume.id))
deletion = server.delete()
assert client.servers.get_by_id(server.id).status == "deleting"
try:
    server.reboot()
    raise AssertionError("two actions at once")
except APIException as error:
    assert error.code == "locked", error.code
deletion.wait_until_finished()
try:
    client.servers.get_by_id(server.id)
    raise AssertionError("it is still there")
except APIException as error:
    assert error.code == "not_found", error.code
try:
    Client(token="wrong", api_endpoint=sys.argv[1] + "/v1").servers.get_all()
    raise AssertionError("a wrong token")
except APIException as error:
    assert error.code == "unauthorized", error.code
print("faithful")
