"""EC2 by moto, an independent implementation of AWS's API, and AWS's price list.

Prints two addresses: EC2's and the price list's. In front of moto is what moto lacks, as AWS documents it:

- limits of requests, as buckets that are filled again
  (https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html);
- ids, groups and tags that are not known everywhere at first
  (https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html);
- idempotency tokens (https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html);
- instances that take a while to end
  (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html);
- sizes that a zone does not offer, and user data that is too long;
- images that take a while, whose names are unique, whose snapshots have tags and are deleted with them
  (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateImage.html, API_DeregisterImage.html);
  an image of an instance with the tag `fails` becomes `failed`;
- volumes that are attached elsewhere or in another zone
  (https://docs.aws.amazon.com/ebs/latest/userguide/ebs-attaching-volume.html), that are being modified, or that
  would become smaller (https://docs.aws.amazon.com/ebs/latest/userguide/ebs-modify-volume.html).

`HITC_TEST_LAG=SECONDS` says how long it takes until something is known everywhere, and until an instance
has ended (half a second, if it is not set). `HITC_TEST_PACE=FACTOR` fills the buckets faster.
"""

import base64
import http.client
import json
import logging
import os
import re
import sys
import threading
import time
import xml.etree.ElementTree as xml
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import boto3
from cloud import Cloud, serve
from moto.server import ThreadedMotoServer

# Prices in USD: an hour of a size, and a month of a GB of a disk.
PRICES = {"t3.micro": "0.0104000000", "t3.small": "0.0208000000", "m5.large": "0.0960000000"}
DISKS = {"standard": "0.0500000000", "gp2": "0.1000000000", "gp3": "0.0800000000"}


def product(size, price):
    """A product as the price list has it, as JSON in a text."""
    return json.dumps(
        {
            "product": {"productFamily": "Compute Instance", "attributes": {"instanceType": size}, "sku": size},
            "serviceCode": "AmazonEC2",
            "terms": {
                "OnDemand": {
                    f"{size}.JRTCKXETXF": {
                        "priceDimensions": {
                            f"{size}.JRTCKXETXF.6YS6EN2CT7": {
                                "unit": "Hrs",
                                "pricePerUnit": {"USD": price},
                            }
                        }
                    }
                }
            },
        }
    )


class PriceList(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        ask = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        signed = self.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 Credential=")
        if not signed or self.headers["X-Amz-Target"] != "AWSPriceListService.GetProducts":
            return self.send(400, {"message": "Missing Authentication Token"})
        wanted = {filter["Field"]: filter["Value"] for filter in ask["Filters"]}
        if wanted.get("productFamily") == "Storage":
            # A month of one GB.
            kind = wanted["volumeApiName"]
            return self.send(200, {"FormatVersion": "aws_v1", "PriceList": [product(kind, DISKS[kind])]})
        sizes = [size for size in sorted(PRICES) if wanted.get("instanceType", size) == size]
        # One a page, to see that all are read.
        at = int(ask.get("NextToken", 0))
        answer = {"FormatVersion": "aws_v1", "PriceList": [product(s, PRICES[s]) for s in sizes[at : at + 1]]}
        if at + 1 < len(sizes):
            answer["NextToken"] = str(at + 1)
        self.send(200, answer)

    def send(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


LAG = float(os.environ.get("HITC_TEST_LAG", "0.5"))
PACE = float(os.environ.get("HITC_TEST_PACE", "1"))


class Bucket:
    """A limit of requests: so many at once, and so many more each second."""

    def __init__(self, size, rate):
        self.size, self.rate = size, rate * PACE
        self.left, self.at = size, time.monotonic()
        self.lock = threading.Lock()

    def take(self):
        with self.lock:
            now = time.monotonic()
            self.left = min(self.size, self.left + (now - self.at) * self.rate)
            self.at = now
            if self.left < 1:
                return False
            self.left -= 1
            return True


def fault(status, code, message):
    error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return status, f"<Response><Errors>{error}</Errors><RequestID>r-2</RequestID></Response>"


def client(moto):
    return boto3.client(
        "ec2",
        region_name="us-east-1",
        endpoint_url="http://%s:%s" % moto,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


class Ec2(Cloud):
    """In front of moto, so that things can go wrong: the path of a fault is the action, `RunInstances`."""

    def __init__(self, moto, prices):
        super().__init__()
        self.moto = moto
        self.prices = prices
        self.born = {}
        self.ended = {}
        self.modified = {}
        self.tokens = {}
        # When images were ordered, and those that fail.
        self.images, self.failing = {}, set()
        self.ordering = threading.Lock()
        self.buckets = {
            "RunInstances": Bucket(5, 2),
            "TerminateInstances": Bucket(100, 5),
            "DescribeInstances": Bucket(100, 20),
            "CreateSecurityGroup": Bucket(50, 5),
            "DescribeSecurityGroups": Bucket(100, 20),
        }

    def shift(self):
        ec2 = client(self.moto)
        pages = ec2.get_paginator("describe_instances").paginate()
        all = [i["InstanceId"] for page in pages for r in page["Reservations"] for i in r["Instances"]]
        ec2.terminate_instances(InstanceIds=all)

    def count(self):
        alive = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
        pages = client(self.moto).get_paginator("describe_instances").paginate(Filters=alive)
        return sum(len(r["Instances"]) for page in pages for r in page["Reservations"])

    def name_of(self, path, text):
        return parse_qs(text.decode()).get("Action", [path])[0]

    def pass_on(self, method, path, text, headers):
        ask = {name: values[0] for name, values in parse_qs(text.decode()).items()}
        # Those of the tests themselves do not count.
        is_test = headers.get("User-Agent", "").startswith("Boto3")
        refused = None if is_test else self.refused(ask)
        if refused:
            return refused
        if ask.get("Action") in ("CreateImage", "DeregisterImage") and not is_test:
            return self.image_action(ask)
        token = ask.get("ClientToken")
        with self.ordering if token else nullcontext():
            if token in self.tokens:
                return self.tokens[token]
            connection = http.client.HTTPConnection(*self.moto)
            connection.request(method, path, text, dict(headers))
            answer = connection.getresponse()
            done = answer.status, answer.read()
            if token and answer.status == 200:
                self.tokens[token] = done
        if is_test:
            return done
        self.note(ask, done)
        return self.as_known(ask, done)

    def refused(self, ask):
        """The error of a request that AWS refuses, and moto does not."""
        action = ask.get("Action", "")
        if ask.get("DryRun") == "true":
            # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html
            message = "Request would have succeeded, but DryRun flag is set."
            return fault(412, "DryRunOperation", message)
        bucket = self.buckets.get(action)
        if bucket and not bucket.take():
            return fault(503, "RequestLimitExceeded", "Request limit exceeded.")
        now = time.monotonic()
        for name, value in ask.items():
            is_new = now - self.born.get(value, -1000) < LAG
            if is_new and re.match(r"(Security)?GroupId(\.|$)", name):
                return fault(400, "InvalidGroup.NotFound", f"The security group '{value}' does not exist")
            if is_new and re.match(r"InstanceId\.", name):
                return fault(400, "InvalidInstanceID.NotFound", f"The instance ID '{value}' does not exist")
            if is_new and re.match(r"VolumeId(\.|$)", name):
                return fault(400, "InvalidVolume.NotFound", f"The volume '{value}' does not exist.")
        if action in ("AttachVolume", "ModifyVolume"):
            return self.refused_volume(action, ask)
        if action == "RunInstances":
            zone, size = ask.get("Placement.AvailabilityZone"), ask["InstanceType"]
            if zone and zone not in self.zones(size):
                return fault(400, "Unsupported", f"Your requested instance type ({size}) is not supported in {zone}.")
            if len(base64.b64decode(ask.get("UserData", ""))) > 16384:
                return fault(400, "InvalidParameterValue", "User data is limited to 16384 bytes")
        return None

    def image_action(self, ask):
        """Makes or removes an image by moto, with what moto lacks."""
        ec2 = client(self.moto)
        own = ec2.describe_images(Owners=["self"])["Images"]
        if ask["Action"] == "DeregisterImage":
            found = [image for image in own if image["ImageId"] == ask["ImageId"]]
            if not found:
                return fault(400, "InvalidAMIID.NotFound", f"The image id '[{ask['ImageId']}]' does not exist")
            ec2.deregister_image(ImageId=ask["ImageId"])
            results = ""
            for disk in found[0]["BlockDeviceMappings"] if ask.get("DeleteAssociatedSnapshots") == "true" else []:
                snapshot = disk["Ebs"]["SnapshotId"]
                ec2.delete_snapshot(SnapshotId=snapshot)
                results += f"<item><snapshotId>{snapshot}</snapshotId><returnCode>success</returnCode></item>"
            return self.xml("DeregisterImage", f"<return>true</return><deleteSnapshotResultSet>{results}</deleteSnapshotResultSet>")
        if any(image["Name"] == ask["Name"] for image in own):
            return fault(400, "InvalidAMIName.Duplicate", f"AMI name {ask['Name']} is already in use by AMI")
        tags = {"image": [], "snapshot": []}
        for name, kind in ask.items():
            if part := re.fullmatch(r"(TagSpecification\.\d+)\.ResourceType", name):
                keys = [k for k in ask if re.fullmatch(re.escape(part[1]) + r"\.Tag\.\d+\.Key", k)]
                tags[kind] += [{"Key": ask[k], "Value": ask.get(k[:-3] + "Value", "")} for k in keys]
        [reservation] = ec2.describe_instances(InstanceIds=[ask["InstanceId"]])["Reservations"]
        of = {tag["Key"] for tag in reservation["Instances"][0].get("Tags", [])}
        specification = [{"ResourceType": "image", "Tags": tags["image"]}]
        id = ec2.create_image(InstanceId=ask["InstanceId"], Name=ask["Name"], TagSpecifications=specification)["ImageId"]
        [image] = ec2.describe_images(ImageIds=[id])["Images"]
        snapshots = [disk["Ebs"]["SnapshotId"] for disk in image["BlockDeviceMappings"]]
        if tags["snapshot"]:
            ec2.create_tags(Resources=snapshots, Tags=tags["snapshot"])
        self.images[id] = time.monotonic()
        if "fails" in of:
            self.failing.add(id)
        return self.xml("CreateImage", f"<imageId>{id}</imageId>")

    def xml(self, action, content):
        space = "http://ec2.amazonaws.com/doc/2016-11-15/"
        return 200, f'<{action}Response xmlns="{space}"><requestId>r-1</requestId>{content}</{action}Response>'

    def refused_volume(self, action, ask):
        ec2, id = client(self.moto), ask["VolumeId"]
        [volume] = ec2.describe_volumes(VolumeIds=[id])["Volumes"]
        if action == "AttachVolume":
            [reserved] = ec2.describe_instances(InstanceIds=[ask["InstanceId"]])["Reservations"]
            zone = reserved["Instances"][0]["Placement"]["AvailabilityZone"]
            if volume["AvailabilityZone"] != zone:
                return fault(400, "InvalidVolume.ZoneMismatch", f"The volume '{id}' is not in the same availability zone")
            if volume["Attachments"]:
                return fault(400, "VolumeInUse", f"{id} is already attached to an instance")
            return None
        if int(ask["Size"]) <= volume["Size"]:
            return fault(400, "InvalidParameterValue", "New size cannot be smaller than existing size")
        if time.monotonic() - self.modified.get(id, -1000) < LAG:
            return fault(400, "IncorrectModificationState", f"The volume {id} is currently in the modifying state.")
        return None

    def zones(self, size):
        offered = client(self.moto).describe_instance_type_offerings(
            LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [size]}]
        )
        return [offer["Location"] for offer in offered["InstanceTypeOfferings"]]

    def note(self, ask, done):
        """Remembers when something was made or ended."""
        now, body = time.monotonic(), done[1].decode(errors="replace")
        action = ask.get("Action")
        kinds = {
            "RunInstances": "instanceId",
            "CreateSecurityGroup": "groupId",
            "TerminateInstances": "instanceId",
            "CreateVolume": "volumeId",
            "ModifyVolume": "volumeId",
        }
        if action in kinds and done[0] == 200:
            times = {"TerminateInstances": self.ended, "ModifyVolume": self.modified}.get(action, self.born)
            ids = re.findall(f"<{kinds[action]}>([^<]+)", body)
            times.update((id, now) for id in ids)
            if action == "TerminateInstances":
                self.free_addresses(ids)

    def free_addresses(self, instances):
        """A terminated instance leaves its addresses
        (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/elastic-ip-addresses-eip.html)."""
        ec2 = client(self.moto)
        for address in ec2.describe_addresses()["Addresses"]:
            if address.get("InstanceId") in instances:
                ec2.disassociate_address(AssociationId=address["AssociationId"])

    def as_known(self, ask, done):
        """What a list shows of instances that were just made or ended."""
        now = time.monotonic()
        new = {id for id, at in list(self.born.items()) if now - at < LAG}
        ending = {id for id, at in list(self.ended.items()) if now - at < LAG}
        if ask.get("Action") == "DescribeImages" and done[0] == 200:
            return self.images_as_known(done)
        modified = {id for id, at in list(self.modified.items()) if now - at < LAG}
        lists = ["DescribeInstances", "DescribeVolumes", "DescribeVolumesModifications"]
        if ask.get("Action") not in lists or done[0] != 200 or not new | ending | modified:
            return done
        root = xml.fromstring(done[1])
        space = re.match(r"{.*}", root.tag)[0]
        xml.register_namespace("", space[1:-1])
        for volumes in root.iter(f"{space}volumeSet"):
            for item in list(volumes):
                if item.findtext(f"{space}volumeId") in new:
                    volumes.remove(item)
        for modifications in root.iter(f"{space}volumeModificationSet"):
            for item in modifications:
                if item.findtext(f"{space}volumeId") in modified:
                    item.find(f"{space}modificationState").text = "modifying"
        for instances in root.iter(f"{space}instancesSet"):
            for item in list(instances):
                id = item.findtext(f"{space}instanceId")
                if id in new:
                    instances.remove(item)
                if id in ending:
                    state = item.find(f"{space}instanceState")
                    state[0].text, state[1].text = "32", "shutting-down"
        return done[0], xml.tostring(root, "utf-8", xml_declaration=True)


    def images_as_known(self, done):
        """New images are not listed at first, and then are pending."""
        ages = {id: time.monotonic() - at for id, at in list(self.images.items())}
        root = xml.fromstring(done[1])
        space = re.match(r"{.*}", root.tag)[0]
        xml.register_namespace("", space[1:-1])
        for images in root.iter(f"{space}imagesSet"):
            for item in list(images):
                id = item.findtext(f"{space}imageId")
                age = ages.get(id, 1000)
                if age < LAG:
                    images.remove(item)
                elif age < 3 * LAG:
                    item.find(f"{space}imageState").text = "pending"
                elif id in self.failing:
                    item.find(f"{space}imageState").text = "failed"
        return done[0], xml.tostring(root, "utf-8", xml_declaration=True)


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    prices = ThreadingHTTPServer(("127.0.0.1", 0), PriceList)
    threading.Thread(target=prices.serve_forever, daemon=True).start()
    serve(Ec2(moto.get_host_and_port(), f"http://127.0.0.1:{prices.server_address[1]}"))
    moto.stop()
