"""Drives the test server of Compute Engine with Google's own client, to see that it is faithful."""

import json
import sys
import time
import urllib.request

import google.auth.transport.requests
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import BadRequest, Conflict, Forbidden, NotFound, PreconditionFailed
from google.cloud import compute_v1
from google.oauth2 import credentials as user_credentials
from google.oauth2 import service_account

url = sys.argv[1]
PROJECT, REGION, ZONE = "test-project", "europe-west1", "europe-west1-c"
with urllib.request.urlopen(url + "/_credentials") as answer:
    known = json.load(answer)
scopes = ["https://www.googleapis.com/auth/compute"]


def key(changed={}):
    info = {**known["service_account"], "token_uri": url + "/token", **changed}
    return service_account.Credentials.from_service_account_info(info, scopes=scopes)


def options():
    return ClientOptions(api_endpoint=url)


# Both kinds of credentials are exchanged for a token.
request = google.auth.transport.requests.Request()
token = key()
token.refresh(request)
assert token.valid and token.token.startswith("ya29.")
user = {**known["user"], "token_uri": url + "/token"}
person = user_credentials.Credentials(
    None, **{part: user[part] for part in ("refresh_token", "token_uri", "client_id", "client_secret")}
)
person.refresh(request)
assert person.valid
for wrong in (key({"client_email": "other@x"}), key({"private_key_id": "other"})):
    try:
        wrong.refresh(request)
        raise AssertionError("a token for another")
    except google.auth.exceptions.RefreshError as error:
        assert "invalid_grant" in str(error), error

client = compute_v1.InstancesClient(credentials=person, client_options=options())
signed = dict(credentials=key(), client_options=options())

assert [zone.name for zone in compute_v1.ZonesClient(**signed).list(project=PROJECT)][0] == "europe-west1-b"
types = compute_v1.MachineTypesClient(**signed)
assert types.get(project=PROJECT, zone=ZONE, machine_type="e2-small").memory_mb == 2048
assert [t.name for t in types.list(project=PROJECT, zone=ZONE)][0] == "c4-standard-2"
images = compute_v1.ImagesClient(**signed)
image = images.get_from_family(project="debian-cloud", family="debian-13")
assert image.architecture == "X86_64" and image.disk_size_gb == 10 and image.name == "debian-13-v20261101"
assert images.get(project="debian-cloud", image=image.name).id == image.id
assert [n.name for n in compute_v1.NetworksClient(**signed).list(project=PROJECT)] == ["default", "inner"]
rule = list(compute_v1.FirewallsClient(**signed).list(project=PROJECT))[1]
assert rule.allowed[0].I_p_protocol == "tcp" and list(rule.allowed[0].ports) == ["22"]


operations = compute_v1.ZoneOperationsClient(**signed)


everywhere = compute_v1.GlobalOperationsClient(**signed)
regional = compute_v1.RegionOperationsClient(**signed)


def done(operation):
    """Waits for an operation. The client's own way asks Google, wherever the client itself was led."""
    while True:
        if operation.zone:
            now = operations.get(project=PROJECT, zone=ZONE, operation=operation.name)
        elif operation.region:
            now = regional.get(project=PROJECT, region=REGION, operation=operation.name)
        else:
            now = everywhere.get(project=PROJECT, operation=operation.name)
        if now.status == compute_v1.Operation.Status.DONE:
            assert not now.error.errors, now.error
            return
        time.sleep(0.05)


def instance(name, labels={}, **more):
    disk = compute_v1.AttachedDisk(boot=True, auto_delete=True)
    disk.initialize_params.source_image = image.self_link
    network = compute_v1.NetworkInterface(network="global/networks/default")
    network.access_configs = [compute_v1.AccessConfig(type_="ONE_TO_ONE_NAT", name="External NAT")]
    return compute_v1.Instance(
        name=name,
        machine_type=f"zones/{ZONE}/machineTypes/e2-micro",
        disks=[disk],
        network_interfaces=[network],
        labels=labels,
        **more,
    )


def insert(name, labels={}, request_id=None, **more):
    request = compute_v1.InsertInstanceRequest(
        project=PROJECT, zone=ZONE, instance_resource=instance(name, labels, **more), request_id=request_id
    )
    return client.insert(request)


def refused(kind, words, do):
    try:
        do()
    except kind as error:
        assert words in str(error), error
        return
    raise AssertionError(f"not refused: {words}")


which = dict(project=PROJECT, zone=ZONE, instance="one")
one = "11111111-1111-4111-8111-111111111111"
operation = insert("one", {"hitc": "1"}, one)
# The same order again is the same operation.
assert insert("one", {"hitc": "1"}, one).name == operation.name
done(operation)
found = client.get(**which)
assert found.status == "RUNNING" and found.machine_type.endswith("/e2-micro") and found.labels == {"hitc": "1"}
assert found.network_interfaces[0].access_configs[0].nat_i_p.startswith("192.0.2.")
assert client.get(project=PROJECT, zone=ZONE, instance=str(found.id)).name == "one"
refused(Conflict, "already exists", lambda: insert("one"))
refused(BadRequest, "resource.name", lambda: insert("Two"))
refused(BadRequest, "labels", lambda: insert("two", {"Key": "x"}))
spot = compute_v1.Scheduling(provisioning_model="SPOT")
refused(BadRequest, "automaticRestart", lambda: insert("two", scheduling=compute_v1.Scheduling(provisioning_model="SPOT", automatic_restart=True)))
spot.automatic_restart = False
done(insert("two", scheduling=spot))
assert client.get(project=PROJECT, zone=ZONE, instance="two").scheduling.provisioning_model == "SPOT"

labels = lambda mark: compute_v1.InstancesSetLabelsRequest(labels={"hitc": "2"}, label_fingerprint=mark)
refused(PreconditionFailed, "fingerprint", lambda: client.set_labels(**which, instances_set_labels_request_resource=labels("bad=")))
done(client.set_labels(**which, instances_set_labels_request_resource=labels(found.label_fingerprint)))
assert client.get(**which).labels == {"hitc": "2"}

size = compute_v1.InstancesSetMachineTypeRequest(machine_type=f"zones/{ZONE}/machineTypes/e2-medium")
change = lambda: client.set_machine_type(**which, instances_set_machine_type_request_resource=size)
refused(BadRequest, "TERMINATED", change)
done(client.stop(**which))
stopped = client.get(**which)
assert stopped.status == "TERMINATED" and not stopped.network_interfaces[0].access_configs[0].nat_i_p
done(change())
name = compute_v1.InstancesSetNameRequest(name="uno", current_name="one")
done(client.set_name(**which, instances_set_name_request_resource=name))
which["instance"] = "uno"
done(client.start(**which))
done(client.reset(**which))
assert client.get(**which).machine_type.endswith("/e2-medium")

# Images of disks, and the serial port.
disk = client.get(**which).disks[0].source
base = compute_v1.Image(name="base", source_disk=disk, labels={"saved": "1"})
save = lambda force: images.insert(
    compute_v1.InsertImageRequest(project=PROJECT, force_create=force, image_resource=base)
)
refused(BadRequest, "already being used", lambda: save(False))
done(save(True))
refused(Conflict, "already exists", lambda: save(True))
saved = images.get(project=PROJECT, image="base")
assert saved.status == "READY" and saved.source_disk == disk and saved.architecture == "X86_64"
ours = compute_v1.ListImagesRequest(project=PROJECT, filter="labels.saved:*")
assert [i.name for i in images.list(ours)] == ["base"]
done(images.delete(project=PROJECT, image=str(saved.id)))
refused(NotFound, "was not found", lambda: images.get(project=PROJECT, image="base"))
port = compute_v1.GetSerialPortOutputInstanceRequest(**which, port=1, start=-100)
assert client.get_serial_port_output(port).contents == ""

# Disks.
disks = compute_v1.DisksClient(**signed)


def insert_disk(name, size, zone=ZONE, request_id=None):
    disk = compute_v1.Disk(name=name, size_gb=size, type_=f"zones/{zone}/diskTypes/pd-balanced", labels={"hitc": "1"})
    return disks.insert(compute_v1.InsertDiskRequest(project=PROJECT, zone=zone, disk_resource=disk, request_id=request_id))


two = "22222222-2222-4222-8222-222222222222"
operation = insert_disk("data", 10, request_id=two)
assert insert_disk("data", 10, request_id=two).name == operation.name
done(operation)
data = dict(project=PROJECT, zone=ZONE, disk="data")
assert disks.get(**data).status == "READY" and disks.get(**data).size_gb == 10
refused(Conflict, "already exists", lambda: insert_disk("data", 10))
refused(BadRequest, "Disk size", lambda: insert_disk("small", 5))
source = f"projects/{PROJECT}/zones/{ZONE}/disks/data"
attached = compute_v1.AttachedDisk(source=source, device_name="data", auto_delete=False)
attach = lambda: client.attach_disk(**which, attached_disk_resource=attached)
done(attach())
assert disks.get(**data).users[0].endswith("/instances/uno")
assert [d.device_name for d in client.get(**which).disks][1] == "data"
refused(BadRequest, "already being used", attach)
refused(BadRequest, "already being used", lambda: disks.delete(**data))
grow = lambda size: disks.resize(**data, disks_resize_request_resource=compute_v1.DisksResizeRequest(size_gb=size))
done(grow(20))
refused(BadRequest, "smaller", lambda: grow(15))
time.sleep(1)
few = compute_v1.AggregatedListDisksRequest(project=PROJECT, filter="labels.hitc:*", max_results=7)
assert [d.size_gb for _, part in disks.aggregated_list(few) for d in part.disks] == [20]
done(client.detach_disk(**which, device_name="data"))
done(disks.delete(**data))
refused(NotFound, "was not found", lambda: disks.get(**data))

# Static addresses.
addresses = compute_v1.AddressesClient(**signed)
front = dict(project=PROJECT, region=REGION, address="front")
reserve = lambda name: addresses.insert(
    project=PROJECT, region=REGION, address_resource=compute_v1.Address(name=name)
)
refused(NotFound, "was not found", lambda: addresses.get(**front))
refused(BadRequest, "resource.name", lambda: reserve("Front"))
done(reserve("front"))
refused(Conflict, "already exists", lambda: reserve("front"))
reserved = addresses.get(**front)
assert (reserved.status, reserved.address_type, reserved.ip_version) == ("RESERVED", "EXTERNAL", "IPV4")
assert [a.name for a in addresses.list(project=PROJECT, region=REGION)] == ["front"]


def with_address(name, ip):
    resource = instance(name)
    resource.network_interfaces[0].access_configs[0].nat_i_p = ip
    request = compute_v1.InsertInstanceRequest(project=PROJECT, zone=ZONE, instance_resource=resource)
    return client.insert(request)


refused(BadRequest, "natIP", lambda: with_address("fixed", "198.51.100.7"))
done(with_address("fixed", reserved.address))
fixed = dict(project=PROJECT, zone=ZONE, instance="fixed")
assert client.get(**fixed).network_interfaces[0].access_configs[0].nat_i_p == reserved.address
used = addresses.get(**front)
assert used.status == "IN_USE" and used.users[0].endswith(f"/zones/{ZONE}/instances/fixed")
refused(BadRequest, "already in-use", lambda: with_address("second", reserved.address))
refused(BadRequest, "already being used", lambda: addresses.delete(**front))
# It stays while the instance is stopped.
done(client.stop(**fixed))
assert client.get(**fixed).network_interfaces[0].access_configs[0].nat_i_p == reserved.address
done(client.delete(**fixed))
assert addresses.get(**front).status == "RESERVED"
done(addresses.delete(**front))

# Lists of many pages, of one zone and of all.
for n in range(30):
    insert(f"n-{n}", {"many": "1"})
time.sleep(1)
few = compute_v1.ListInstancesRequest(project=PROJECT, zone=ZONE, filter="labels.many:*", max_results=7)
assert len(list(client.list(few))) == 30
few = compute_v1.AggregatedListInstancesRequest(project=PROJECT, filter="labels.many=1", max_results=7)
assert sum(len(part.instances) for _, part in client.aggregated_list(few)) == 30

done(client.delete(**which))
refused(NotFound, "was not found", lambda: client.get(**which))
done(insert("kept", deletion_protection=True))
refused(PreconditionFailed, "protected against deletion", lambda: client.delete(project=PROJECT, zone=ZONE, instance="kept"))
refused(Forbidden, "permission", lambda: list(client.list(project="foreign-project", zone=ZONE)))
# Another project of the account has nothing of this one.
assert list(client.list(project="other-project", zone=ZONE)) == []
# The client gets another token if the one that it has is refused. One who has no other is told.
urllib.request.urlopen(url + "/_revoke")
assert client.get(project=PROJECT, zone=ZONE, instance="two").name == "two"
bad = compute_v1.ZonesClient(credentials=user_credentials.Credentials("wrong"), client_options=options())
try:
    list(bad.list(project=PROJECT))
    raise AssertionError("a wrong token")
except google.auth.exceptions.RefreshError:
    pass
print("faithful")
