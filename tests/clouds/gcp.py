"""Google Cloud's Compute Engine, as far as hitc uses it, and its token endpoint.

https://docs.cloud.google.com/compute/docs/reference/rest/v1. That it is faithful is seen by Google's own
client for Python, which is driven against it (`gcp_client.py`).

Two projects are there, `test-project` and `other-project`, which differ in what is in them.

`TOKEN_LIFETIME` is the lifetime of an access token in seconds. `GET /_credentials` returns the contents of
a service account's key file, and of gcloud's application default credentials.
"""

import base64
import hashlib
import json
import os
import re
import time
from datetime import datetime, timezone
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from cloud import Cloud, Refused, Window, later, serve

# The project, and another one of the same accounts.
PROJECT, OTHER = "test-project", "other-project"
ROOT = "https://www.googleapis.com/compute/v1/projects/"
ZONES = ["europe-west1-b", "europe-west1-c", "us-central1-a"]
# The prices of Compute Engine (https://docs.cloud.google.com/billing/v1/how-tos/catalog-api): description, regions,
# usage, unit, and tiers: from which amount on, and the price in USD. Those of Belgium, and decoys.
BELGIUM, ALL = ["europe-west1"], ["global"]
SKUS = [
    ("Commitment v1: E2 Cpu in Belgium for 1 Year", BELGIUM, "Commit1Yr", "h", [(0, "0.0151")]),
    ("E2 Instance Core running in Americas", ["us-central1", "us-east1"], "OnDemand", "h", [(0, "0.02181159")]),
    ("E2 Instance Core running in Belgium", BELGIUM, "OnDemand", "h", [(0, "0.024")]),
    ("E2 Instance Ram running in Belgium", BELGIUM, "OnDemand", "GiBy.h", [(0, "0.003")]),
    ("Spot Preemptible E2 Instance Core running in Belgium", BELGIUM, "Preemptible", "h", [(0, "0.008")]),
    ("Spot Preemptible E2 Instance Ram running in Belgium", BELGIUM, "Preemptible", "GiBy.h", [(0, "0.001")]),
    ("T2A Arm Instance Core running in Belgium", BELGIUM, "OnDemand", "h", [(0, "0.03")]),
    ("T2A Arm Instance Ram running in Belgium", BELGIUM, "OnDemand", "GiBy.h", [(0, "0.004")]),
    ("Regional Balanced PD Capacity in Belgium", BELGIUM, "OnDemand", "GiBy.mo", [(0, "0.2")]),
    ("Balanced PD Capacity in Belgium", BELGIUM, "OnDemand", "GiBy.mo", [(0, "0.1")]),
    ("External IP Charge on a Standard VM", ALL, "OnDemand", "h", [(0, "0"), (744, "0.005")]),
    ("External IP Charge on a Spot Preemptible VM", ALL, "OnDemand", "h", [(0, "0"), (744, "0.0025")]),
]
# Processors, memory in MB, architecture.
TYPES = {
    "c4-standard-2": (2, 7168, "X86_64"),
    "e2-medium": (2, 4096, "X86_64"),
    "e2-micro": (2, 1024, "X86_64"),
    "e2-small": (2, 2048, "X86_64"),
    "t2a-standard-1": (1, 4096, "ARM64"),
}
# https://docs.cloud.google.com/compute/docs/images/os-details
FAMILIES = {
    "debian-cloud": {"debian-12": "X86_64", "debian-13": "X86_64", "debian-13-arm64": "ARM64"},
    "ubuntu-os-cloud": {
        "ubuntu-2204-lts": "X86_64",
        "ubuntu-2404-lts-amd64": "X86_64",
        "ubuntu-2404-lts-arm64": "ARM64",
    },
    PROJECT: {"web": "X86_64"},
}
NAME = r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?"

MAKE_USER = """
id "$1" >/dev/null 2>&1 || useradd -m -s /bin/bash "$1"
echo "$1 ALL=(ALL) NOPASSWD: ALL" >"/etc/sudoers.d/$1"
install -d -o "$1" -g "$1" -m 700 "/home/$1/.ssh"
install -o "$1" -g "$1" -m 600 /root/.ssh/authorized_keys2 "/home/$1/.ssh/authorized_keys"
rm /root/.ssh/authorized_keys2
"""


def now():
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f+00:00")


def error(status, reason, message):
    """https://docs.cloud.google.com/apis/design/errors, in the form that Compute Engine uses."""
    details = [{"message": message, "domain": "global", "reason": reason}]
    return Refused(status, {"error": {"code": status, "message": message, "errors": details}})


def missing(path):
    return error(404, "notFound", f"The resource '{path}' was not found")


def in_zone(zone, rest):
    return f"projects/{PROJECT}/zones/{zone}/{rest}"


def machine_type(zone, name):
    cores, memory, architecture = TYPES[name]
    return {
        "kind": "compute#machineType",
        "id": str(100 + list(TYPES).index(name)),
        "name": name,
        "guestCpus": cores,
        "memoryMb": memory,
        "architecture": architecture,
        "isSharedCpu": name.startswith("e2"),
        "zone": zone,
        "selfLink": ROOT + f"{PROJECT}/zones/{zone}/machineTypes/{name}",
    }


def images(project):
    found = []
    for family, architecture in FAMILIES.get(project, {}).items():
        # An old one, and the one that the family stands for.
        for date in ("20260101", "20261101"):
            name = f"{family}-v{date}"
            image = {
                "kind": "compute#image",
                "id": str(int(hashlib.sha256(name.encode()).hexdigest()[:12], 16)),
                "name": name,
                "family": family,
                "architecture": architecture,
                "diskSizeGb": "10",
                "status": "READY",
                "selfLink": ROOT + f"{project}/global/images/{name}",
            }
            if date == "20260101":
                image["deprecated"] = {"state": "DEPRECATED"}
            found.append(image)
    return found


def network(name):
    regions = sorted({zone.rsplit("-", 1)[0] for zone in ZONES})
    names = [name] if name == "default" else ["front", "back"]
    links = [ROOT + f"{PROJECT}/regions/{region}/subnetworks/{n}" for region in regions for n in names]
    return {
        "kind": "compute#network",
        "id": "7",
        "name": name,
        "autoCreateSubnetworks": name == "default",
        "selfLink": ROOT + f"{PROJECT}/global/networks/{name}",
        "subnetworks": links,
    }


def firewall(name, allowed, sources):
    # https://docs.cloud.google.com/firewall/docs/firewalls#more_rules_default_vpc
    return {
        "kind": "compute#firewall",
        "id": "9",
        "name": name,
        "network": ROOT + f"{PROJECT}/global/networks/default",
        "priority": 65534,
        "direction": "INGRESS",
        "sourceRanges": sources,
        "allowed": allowed,
        "disabled": False,
    }


def label(text):
    """As hitc encodes it."""
    kept = "abcdefghijklmnopqrstuvwxyz0123456789-"
    return "".join(chr(b) if chr(b) in kept else f"_{b:02x}" for b in text.encode())


def check_labels(labels):
    """https://docs.cloud.google.com/compute/docs/labeling-resources#requirements"""
    for key, value in labels.items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or not re.fullmatch(r"[a-z0-9_-]{0,63}", value):
            raise error(400, "invalid", f"Invalid value for field 'labels': label {key}={value}")


def sku(number, description, regions, usage, unit, tiers):
    def money(text):
        units, _, fraction = text.partition(".")
        return {"currencyCode": "USD", "units": units, "nanos": int(fraction.ljust(9, "0")[:9] or 0)}

    rates = [{"startUsageAmount": start, "unitPrice": money(price)} for start, price in tiers]
    return {
        "name": f"services/6F81-5844-456A/skus/0000-0000-{number:04}",
        "skuId": f"0000-0000-{number:04}",
        "description": description,
        "category": {
            "serviceDisplayName": "Compute Engine",
            "resourceFamily": "Compute",
            "resourceGroup": "RAM" if "Ram" in description else "CPU",
            "usageType": usage,
        },
        "serviceRegions": regions,
        "pricingInfo": [
            {
                "summary": "",
                "pricingExpression": {"usageUnit": unit, "displayQuantity": 1, "tieredRates": rates},
                "currencyConversionRate": 1,
                "effectiveTime": "2026-11-01T00:00:00Z",
            }
        ],
        "serviceProviderName": "Google",
    }


class Google(Cloud):
    def __init__(self):
        super().__init__()
        # The types of boot disks, by the number of the instance.
        self.boot_types = {}
        # Static external addresses, by region and name.
        self.addresses = {}
        self.instances = {}
        # The images of the project that were made of disks, and what is on these.
        self.saved, self.contents = {}, {}
        # What instances write to their first serial port, by name.
        self.consoles = {}
        self.disks = {}
        self.operations = {}
        self.requests = {}
        self.exhausted = []
        self.limit = int(os.environ.get("SERVER_LIMIT", "100000"))
        self.lifetime = int(os.environ.get("TOKEN_LIFETIME", "3600"))
        self.firewalls = [
            firewall("default-allow-ssh", [{"IPProtocol": "tcp", "ports": ["22"]}], ["0.0.0.0/0"]),
            firewall("default-allow-icmp", [{"IPProtocol": "icmp"}], ["0.0.0.0/0"]),
        ]
        self.settings_changed({"requests": 1500, **{k: v for k, v in self.settings.items() if v}})
        self.tokens, self.scopes = {}, {}
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.service_account = {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "0123456789abcdef0123456789abcdef01234567",
            "private_key": pem.decode(),
            "client_email": f"hitc@{PROJECT}.iam.gserviceaccount.com",
            "client_id": "100000000000000000001",
            "token_uri": "/token",
        }
        self.user = {
            "type": "authorized_user",
            "client_id": "1-x.apps.googleusercontent.com",
            "client_secret": "d-FL95Q19q7MQmFpd7hHD0Ty",
            "refresh_token": "1//0test-token-refresh",
            "quota_project_id": PROJECT,
        }
        at = "/compute/v1/projects/([a-z0-9-]+)"
        zone = at + "/zones/([a-z0-9-]+)"
        self.routes = [
            ("GET", at + "/aggregated/instances", self.list_all),
            # https://docs.cloud.google.com/compute/docs/reference/rest/v1/disks
            ("GET", at + "/aggregated/disks", self.list_all_disks),
            ("GET", zone + "/disks", self.list_disks),
            ("POST", zone + "/disks", self.insert_disk),
            ("GET", zone + "/disks/([a-z0-9-]+)", lambda p, z, n, query, body: (200, self.find_disk(z, n))),
            ("DELETE", zone + "/disks/([a-z0-9-]+)", self.delete_disk),
            ("POST", zone + "/disks/([a-z0-9-]+)/resize", self.resize_disk),
            ("GET", zone + "/instances", self.list_zone),
            ("POST", zone + "/instances", self.insert),
            ("GET", zone + "/instances/([a-z0-9-]+)", lambda p, z, n, query, body: (200, self.find(z, n))),
            ("DELETE", zone + "/instances/([a-z0-9-]+)", self.delete),
            ("POST", zone + "/instances/([a-z0-9-]+)/([a-zA-Z]+)", self.act),
            ("GET", zone + "/operations/([a-z0-9-]+)", self.get_operation),
            ("GET", at + "/regions/([a-z0-9-]+)", self.get_region),
            # https://docs.cloud.google.com/compute/docs/reference/rest/v1/addresses
            ("GET", at + "/regions/([a-z0-9-]+)/addresses", self.list_addresses),
            ("POST", at + "/regions/([a-z0-9-]+)/addresses", self.insert_address),
            ("GET", at + "/regions/([a-z0-9-]+)/addresses/([a-z0-9-]+)", self.get_address),
            ("DELETE", at + "/regions/([a-z0-9-]+)/addresses/([a-z0-9-]+)", self.release_address),
            ("GET", at + "/regions/([a-z0-9-]+)/operations/([a-z0-9-]+)", self.region_operation),
            ("GET", "/v1/services/6F81-5844-456A/skus", self.list_skus),
            ("POST", "/v3/projects/[a-z0-9-]+:testIamPermissions", self.test_permissions),
            ("GET", at + "/zones", lambda p, query, body: self.listing(self.zones(), query)),
            ("GET", zone, self.get_zone),
            ("GET", zone + "/machineTypes", self.list_types),
            ("GET", zone + "/machineTypes/([a-z0-9-]+)", self.get_type),
            ("GET", zone + "/instances/([a-z0-9-]+)/serialPort", self.serial_port),
            ("GET", at + "/global/images", self.list_images),
            ("POST", at + "/global/images", self.insert_image),
            ("DELETE", at + "/global/images/([a-z0-9-]+)", self.delete_image),
            ("GET", at + "/global/operations/([a-z0-9-]+)", lambda p, n, query, body: self.one_operation(n)),
            ("GET", at + "/global/images/family/([a-z0-9-]+)", self.get_family),
            ("GET", at + "/global/images/([a-z0-9-]+)", self.get_image),
            ("GET", at + "/global/networks", lambda p, query, body: self.listing(self.networks(), query)),
            ("GET", at + "/global/networks/([a-z0-9-]+)", self.get_network),
            ("GET", at + "/global/firewalls", lambda p, query, body: self.listing(self.firewalls, query)),
        ]

    # --- from outside

    def count(self):
        return len(self.instances)

    def limit_requests(self, method, path):
        """1500 requests a minute of each group (https://docs.cloud.google.com/compute/api-quota)."""
        is_list = re.search(r"/(instances|zones|machineTypes|images|networks|firewalls)$", path)
        group = "write" if method != "GET" else "list" if is_list else "read"
        if self.groups[group].take(self.clock.now()) is not None:
            raise error(403, "rateLimitExceeded", f"Quota exceeded for quota metric '{group} requests'")
        return {}

    def settings_changed(self, changed):
        most = changed.get("requests")
        if most:
            self.groups = {group: Window(most, 60) for group in ("read", "list", "write")}

    def name_of(self, path, text):
        return path.removeprefix(f"/compute/v1/projects/{PROJECT}")

    def control(self, method, path, body):
        if path == "/_credentials":
            return 200, {"service_account": self.service_account, "user": self.user}
        if path == "/_servers":
            for name, labels in body:
                labels = {key: label(value) for key, value in labels.items()}
                if "hitc" in labels:
                    labels.setdefault("hitc-name", label(name))
                fit = re.sub("[^a-z0-9]", "-", name.lower())
                self.make(ZONES[0], {"name": fit, "labels": labels}, "e2-small", "RUNNING")
            return 200, {}
        if path == "/_labels":
            # As if somebody had changed them in Google's console.
            for name, labels in body:
                self.named(name)["labels"] = {key: label(value) for key, value in labels.items()}
            return 200, {}
        if path == "/_images":
            return 200, list(self.saved.values())
        if path == "/_console":
            name, text = body
            self.consoles[self.named(name)["name"]] = text
            return 200, {}
        if path == "/_state":
            name, status = body
            self.named(name)["status"] = status
            return 200, {}
        if path == "/_address":
            # As if somebody had reserved it in Google's console.
            region, name, more = body
            return 200, self.add_address(region, name, **more)
        if path == "/_exhausted":
            self.exhausted = body
            return 200, {}
        if path == "/_volumes":
            return 200, list(self.disks.values())
        if path == "/_volume":
            # As if somebody had changed it in Google's console.
            name, changes = body
            for disk in self.disks.values():
                if disk["name"] == name:
                    disk.update(changes)
            return 200, {}
        if path == "/_instances":
            return 200, list(self.instances.values())
        if path == "/_revoke":
            # Access tokens end before their time.
            self.tokens.clear()
            return 200, {}
        return super().control(method, path, body)

    def get_region(self, project, name, query, body):
        """https://docs.cloud.google.com/compute/docs/reference/rest/v1/regions/get"""
        used = {"CPUS": 2.0 * len(self.instances), "INSTANCES": float(len(self.instances))}
        limits = {"CPUS": 24.0, "INSTANCES": 24.0, "IN_USE_ADDRESSES": 4.0, "SNAPSHOTS": 1000.0}
        quotas = [{"metric": m, "limit": most, "usage": used.get(m, 0.0)} for m, most in limits.items()]
        return 200, {"kind": "compute#region", "name": name, "quotas": quotas}

    def test_permissions(self, query, body):
        """Those of the asked permissions that the caller has: all, or the scopes of the settings."""
        held = self.settings["scopes"]
        found = [p for p in body["permissions"] if held is None or p in held]
        return 200, {"permissions": found} if found else {}

    # --- prices

    def list_skus(self, query, body):
        """A page of at most five, to see that all are read. The parameter `fields` leaves fields out, which is
        not done here (https://docs.cloud.google.com/apis/docs/system-parameters)."""
        if self.settings.get("billing") is False:
            message = f"Cloud Billing API has not been used in project {PROJECT} before or it is disabled."
            refused = error(403, "forbidden", message)
            refused.body["error"]["status"] = "PERMISSION_DENIED"
            raise refused
        start = int(query.get("pageToken") or 0)
        count = min(int(query.get("pageSize", 5000)), 5)
        found = [sku(number, *parts) for number, parts in enumerate(SKUS)]
        following = str(start + count) if start + count < len(found) else ""
        return 200, {"skus": found[start : start + count], "nextPageToken": following}

    # --- static external addresses

    def add_address(self, region, name, **more):
        number = self.number()
        address = {
            "kind": "compute#address",
            "id": str(number * 10**15 + 3),
            "creationTimestamp": now(),
            "name": name,
            # Of the addresses that the tests map to a machine, beside those of instances.
            "address": f"192.0.2.{251 + len(self.addresses) % 4}",
            "status": "RESERVED",
            "region": ROOT + f"{PROJECT}/regions/{region}",
            "selfLink": ROOT + f"{PROJECT}/regions/{region}/addresses/{name}",
            "networkTier": "PREMIUM",
            "addressType": "EXTERNAL",
            "ipVersion": "IPV4",
            **more,
        }
        self.addresses[region, name] = address
        return address

    def check_region(self, region):
        if region not in {zone.rsplit("-", 1)[0] for zone in ZONES}:
            raise error(400, "invalid", f"Invalid value for field 'region': '{region}'. Unknown region.")

    def list_addresses(self, project, region, query, body):
        self.check_region(region)
        return self.listing([found for (where, _), found in self.addresses.items() if where == region], query)

    def get_address(self, project, region, name, query, body):
        self.check_region(region)
        if (region, name) not in self.addresses:
            raise missing(f"projects/{PROJECT}/regions/{region}/addresses/{name}")
        return 200, self.addresses[region, name]

    def insert_address(self, project, region, query, body):
        self.check_region(region)
        name, path = body.get("name", ""), f"projects/{PROJECT}/regions/{region}/addresses/{body.get('name')}"
        if not re.fullmatch(NAME, name):
            raise error(400, "invalid", f"Invalid value for field 'resource.name': '{name}'.")
        if (region, name) in self.addresses:
            raise error(409, "alreadyExists", f"The resource '{path}' already exists")
        return self.begin_regional("insert", self.add_address(region, name), lambda: None)

    def release_address(self, project, region, name, query, body):
        _, address = self.get_address(project, region, name, {}, None)
        if address["status"] == "IN_USE":
            path = address["selfLink"].removeprefix(ROOT)
            by = address["users"][0].removeprefix(ROOT)
            message = f"The address resource 'projects/{path}' is already being used by 'projects/{by}'"
            raise error(400, "resourceInUseByAnotherResource", message)
        return self.begin_regional("delete", address, lambda: self.addresses.pop((region, name)) and None)

    def begin_regional(self, kind, address, work):
        status, answer = self.begin_global(kind, address, work)
        region = address["region"]
        for operation in (answer, self.operations[answer["name"]]):
            operation["region"] = region
            operation["selfLink"] = f"{region}/operations/{answer['name']}"
        return status, answer

    def region_operation(self, project, region, name, query, body):
        operation = self.operations.get(name)
        if operation is None or not operation.get("region", "").endswith("/" + region):
            raise missing(f"projects/{PROJECT}/regions/{region}/operations/{name}")
        return 200, operation

    def address_of(self, zone, wanted):
        """The static address that an order names. It must be free, and of the region and tier
        (https://docs.cloud.google.com/compute/docs/reference/rest/v1/instances/insert, `natIP`)."""
        for (region, _), address in self.addresses.items():
            if address["address"] == wanted["natIP"] and region == zone.rsplit("-", 1)[0]:
                if address["status"] == "IN_USE":
                    raise error(400, "invalidUsage", f"External IP address: {wanted['natIP']} is already in-use.")
                if wanted.get("networkTier", "PREMIUM") != address["networkTier"]:
                    raise error(400, "invalid", "The specified network tier does not match that of the address.")
                return address
        cause = "The specified external IP address was not found in the region of the instance."
        raise error(400, "invalid", f"Invalid value for field 'resource.networkInterfaces[0].accessConfigs[0].natIP': '{wanted['natIP']}'. {cause}")

    def free_addresses(self, instance):
        """An instance that is deleted leaves its static address."""
        for address in self.addresses.values():
            if instance["selfLink"] in address.get("users", []):
                address["status"] = "RESERVED"
                del address["users"]

    def static_address(self, instance):
        for address in self.addresses.values():
            if instance["selfLink"] in address.get("users", []):
                return address["address"]
        return None

    def named(self, name):
        [found] = [i for i in self.instances.values() if i["labels"].get("hitc-name") == label(name)]
        return found

    def stop(self, name):
        instance = self.named(name)
        self.machines.stop(self.number_of(instance))
        self.halt(instance)

    def shift(self):
        with self.lock:
            self.instances.pop(min(self.instances, default=None), None)

    def pass_on(self, method, path, text, headers):
        parts = urlsplit(path)
        if parts.path == "/token":
            form = {name: values[0] for name, values in parse_qs(text.decode()).items()}
            return self.give_token(form)
        if not text or text[:1] == b"{":
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            token = (headers.get("Authorization") or "").removeprefix("Bearer ")
            if not self.is_valid(token):
                return self.unauthorized()
            if parts.path.startswith("/v1/services/") and "/auth/cloud-" not in self.scopes.get(token, ""):
                refused = error(403, "ACCESS_TOKEN_SCOPE_INSUFFICIENT", "Request had insufficient authentication scopes.")
                return refused.status, refused.body
            project = re.match("/(?:compute/v1|v3)/projects/([a-z0-9-]+)", parts.path)
            if project and project[1] == OTHER:
                return self.in_other_project(method, path, text)
            if project and project[1] != PROJECT and "/global/images" not in parts.path:
                message = f"Required 'compute.instances.list' permission for 'projects/{project[1]}'"
                refused = error(403, "forbidden", message)
                return refused.status, refused.body
            return self.answer(method, parts.path, query, json.loads(text) if text else None, self.token)
        return 400, {}

    def in_other_project(self, method, path, text):
        """Another project of the same accounts is another such cloud, whose links name it."""
        with self.lock:
            if self.other is None:
                self.other = type(self)()
                self.other.numbers = 500000
                self.other.settings, self.other.clock = self.settings, self.clock
        parts = urlsplit(path.replace(OTHER, PROJECT))
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        body = json.loads(text.decode().replace(OTHER, PROJECT)) if text else None
        status, answer, headers = self.other.answer(method, parts.path, query, body, self.other.token)
        return status, json.loads(json.dumps(answer).replace(PROJECT, OTHER)), headers

    # --- tokens: https://developers.google.com/identity/protocols/oauth2/service-account

    def give_token(self, form):
        def refuse(cause, status=400):
            return status, {"error": "invalid_grant", "error_description": cause}

        if form.get("grant_type") == "refresh_token":
            for part in ("client_id", "client_secret"):
                if form.get(part) != self.user[part]:
                    return 401, {"error": "invalid_client", "error_description": "Unauthorized"}
            if form.get("refresh_token") != self.user["refresh_token"]:
                return refuse("Token has been expired or revoked.")
        elif form.get("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer":
            claims = self.verified(form.get("assertion", ""))
            if claims is None:
                return refuse("Invalid JWT Signature.")
            if not claims["aud"].endswith("/token") or "/auth/c" not in claims["scope"]:
                return refuse("Invalid JWT: Failed audience check.")
        else:
            return 400, {"error": "unsupported_grant_type", "error_description": "Invalid grant_type"}
        token = f"ya29.test-token-{self.number()}"
        self.tokens[token] = time.time() + self.lifetime
        # Those that the user granted include all of the platform.
        self.scopes[token] = claims["scope"] if "assertion" in form else "/auth/cloud-platform"
        return 200, {"access_token": token, "expires_in": self.lifetime, "token_type": "Bearer"}

    def verified(self, token):
        """The claims of a JSON Web Token that is signed with the key of the service account."""
        try:
            header, claims, signature = token.split(".")
            part = lambda text: base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            signed = f"{header}.{claims}".encode()
            self.key.public_key().verify(part(signature), signed, padding.PKCS1v15(), hashes.SHA256())
            header, claims = json.loads(part(header)), json.loads(part(claims))
        except Exception:
            return None
        account = self.service_account
        good = header["alg"] == "RS256" and header["typ"] == "JWT" and header["kid"] == account["private_key_id"]
        good = good and claims["iss"] == account["client_email"]
        good = good and claims["exp"] - claims["iat"] <= 3600 and abs(claims["iat"] - time.time()) < 300
        return claims if good else None

    def is_valid(self, token):
        # A token that the service account signed itself is good, too: Google's own client does that
        # (https://google.aip.dev/auth/4111).
        return self.tokens.get(token, 0) > time.time() or self.verified(token) is not None

    def unauthorized(self):
        message = "Request had invalid authentication credentials. Expected OAuth 2 access token."
        refused = error(401, "authError", message)
        refused.body["error"]["status"] = "UNAUTHENTICATED"
        return refused.status, refused.body

    def not_found(self):
        refused = error(404, "notFound", "not found")
        return refused.status, refused.body

    # --- what there is

    def listing(self, items, query):
        """A page: the token names the last item, and is opaque."""
        items = sorted(items, key=lambda item: (item.get("zone", ""), item["name"]))
        key = lambda item: f"{item.get('zone', '')}>>>{item['name']}"
        if query.get("pageToken"):
            after = base64.b64decode(query["pageToken"], validate=True).decode()
            items = [item for item in items if key(item) > after]
        count = min(int(query.get("maxResults", 500)), 500)
        answer = {"kind": "compute#list", "items": items[:count]}
        if len(items) > count:
            answer["nextPageToken"] = base64.b64encode(key(items[count - 1]).encode()).decode()
        if not answer["items"]:
            # An empty list is left out.
            del answer["items"]
        return 200, answer

    def zones(self):
        return [
            {"kind": "compute#zone", "id": str(n), "name": name, "status": "UP", "selfLink": ROOT + f"{PROJECT}/zones/{name}"}
            for n, name in enumerate(ZONES)
        ]

    def networks(self):
        return [network("default"), network("inner")]

    def one(self, items, name, path):
        for item in items:
            if item["name"] == name:
                return 200, item
        raise missing(path)

    def get_zone(self, project, zone, query, body):
        return self.one(self.zones(), zone, f"projects/{project}/zones/{zone}")

    def check_zone(self, zone):
        if zone not in ZONES:
            raise error(400, "invalid", f"Invalid value for field 'zone': '{zone}'. Unknown zone.")

    def list_types(self, project, zone, query, body):
        self.check_zone(zone)
        return self.listing([machine_type(zone, name) for name in TYPES], query)

    def get_type(self, project, zone, name, query, body):
        self.check_zone(zone)
        return self.one([machine_type(zone, n) for n in TYPES], name, in_zone(zone, f"machineTypes/{name}"))

    def get_family(self, project, family, query, body):
        for image in images(project):
            if image["family"] == family and "deprecated" not in image:
                return 200, image
        raise missing(f"projects/{project}/global/images/family/{family}")

    def get_image(self, project, name, query, body):
        for image in self.images(project):
            if name in (image["name"], image["id"]):
                return 200, image
        raise missing(f"projects/{project}/global/images/{name}")

    # --- images of disks: https://docs.cloud.google.com/compute/docs/reference/rest/v1/images

    def images(self, project):
        with self.lock:
            own = list(self.saved.values()) if project == PROJECT else []
        return images(project) + own

    def list_images(self, project, query, body):
        wanted = query.pop("filter", "")
        found = self.images(project)
        if match := re.fullmatch(r"labels\.([a-z_-]+):\*", wanted):
            found = [image for image in found if match[1] in image.get("labels", {})]
        elif wanted:
            raise error(400, "invalid", f"Invalid value for field 'filter': '{wanted}'.")
        return self.listing(found, query)

    def insert_image(self, project, query, body):
        path = f"projects/{project}/global/images/{body['name']}"
        if not re.fullmatch(NAME, body["name"]):
            raise error(400, "invalid", f"Invalid value for field 'resource.name': '{body['name']}'.")
        check_labels(body.get("labels") or {})
        disk = body["sourceDisk"]
        with self.lock:
            if any(image["name"] == body["name"] for image in self.images(project)):
                raise error(409, "alreadyExists", f"The resource '{path}' already exists")
            [instance] = [i for i in self.instances.values() if i["disks"][0]["source"] == disk]
            # https://docs.cloud.google.com/compute/docs/images/create-custom#prepare_disk_for_image
            if instance["status"] != "TERMINATED" and query.get("forceCreate") != "true":
                text = f"The disk resource '{disk}' is already being used by '{instance['selfLink']}'"
                raise error(400, "resourceInUseByAnotherResource", text)
            number = self.number()
            image = {
                "kind": "compute#image",
                "id": str(number * 10**15 + 9),
                "name": body["name"],
                "labels": body.get("labels") or {},
                "labelFingerprint": "x",
                "sourceDisk": disk,
                "sourceType": "RAW",
                "architecture": TYPES[instance["machineType"].split("/")[-1]][2],
                "diskSizeGb": instance["disks"][0]["diskSizeGb"],
                "creationTimestamp": now(),
                "storageLocations": ["eu"],
                "status": "PENDING",
                "selfLink": ROOT + f"{PROJECT}/global/images/{body['name']}",
            }
            self.saved[image["name"]] = image

        def work():
            self.clock.wait(self.takes("insert_image"))
            if "insert_image" in self.settings.get("fails", []):
                image["status"] = "FAILED"
                return "RESOURCE_OPERATION_RATE_EXCEEDED", "Operation rate exceeded for the disk."
            self.contents[image["name"]] = self.machines.save(self.number_of(instance))
            image.update(status="READY", archiveSizeBytes="123456789")

        return self.begin_global("insert", image, work)

    def delete_image(self, project, name, query, body):
        _, image = self.get_image(project, name, query, body)
        image["status"] = "DELETING"

        def work():
            self.clock.wait(self.takes("deletion"))
            self.saved.pop(image["name"], None)

        return self.begin_global("delete", image, work)

    def begin_global(self, kind, image, work):
        number = self.number()
        operation = {
            "kind": "compute#operation",
            "id": str(number),
            "name": f"operation-{number}-0-1",
            "operationType": kind,
            "targetLink": image["selfLink"],
            "targetId": image["id"],
            "status": "RUNNING",
            "user": self.service_account["client_email"],
            "progress": 0,
            "insertTime": now(),
            "selfLink": ROOT + f"{PROJECT}/global/operations/operation-{number}-0-1",
        }
        self.operations[operation["name"]] = operation

        def run():
            failed = work()
            if failed:
                operation["error"] = {"errors": [{"code": failed[0], "message": failed[1]}]}
            operation.update(progress=100, endTime=now(), status="DONE")

        answer = dict(operation)
        later(run)
        return 200, answer

    def one_operation(self, name):
        operation = self.operations.get(name)
        if operation is None or "zone" in operation:
            raise missing(f"projects/{PROJECT}/global/operations/{name}")
        return 200, operation

    def serial_port(self, project, zone, name, query, body):
        """https://docs.cloud.google.com/compute/docs/reference/rest/v1/instances/getSerialPortOutput: with a
        negative start, the most recent bytes; 1 MB at most."""
        instance = self.find(zone, name)
        text = self.consoles.get(instance["name"], "")
        start = int(query.get("start", 0))
        start = max(0, len(text) + start) if start < 0 else start
        contents = text[start : start + 1048576]
        link = instance["selfLink"] + "/serialPort"
        kind = "compute#serialPortOutput"
        end = str(start + len(contents))
        return 200, {"kind": kind, "selfLink": link, "contents": contents, "start": str(start), "next": end}

    def get_network(self, project, name, query, body):
        return self.one(self.networks(), name, f"projects/{project}/global/networks/{name}")

    def selected(self, query, items=None):
        """https://docs.cloud.google.com/compute/docs/reference/rest/v1/instances/aggregatedList"""
        wanted = query.get("filter", "")
        found = list((self.instances if items is None else items).values())
        if match := re.fullmatch(r"labels\.([a-z_-]+):\*", wanted):
            return [i for i in found if match[1] in i["labels"]]
        if match := re.fullmatch(r"labels\.([a-z_-]+)=([a-z0-9_-]*)", wanted):
            return [i for i in found if i["labels"].get(match[1]) == match[2]]
        if match := re.fullmatch(r"name=([a-z0-9-]+)", wanted):
            return [i for i in found if i["name"] == match[1]]
        if wanted:
            raise error(400, "invalid", f"Invalid value for field 'filter': '{wanted}'.")
        return found

    def list_zone(self, project, zone, query, body):
        self.check_zone(zone)
        with self.lock:
            return self.listing([i for i in self.selected(query) if i["zone"].endswith("/" + zone)], query)

    def list_disks(self, project, zone, query, body):
        self.check_zone(zone)
        with self.lock:
            return self.listing([d for d in self.selected(query, self.disks) if d["zone"].endswith("/" + zone)], query)

    def list_all_disks(self, project, query, body):
        with self.lock:
            disks = {**self.disks, **{("boot", disk["id"]): disk for disk in self.boot_disks()}}
            found = self.listed(self.selected(query, disks), "disk")
        return self.by_zone(found, "disks", query)

    def list_all(self, project, query, body):
        with self.lock:
            found = self.selected(query)
        return self.by_zone(found, "instances", query)

    def by_zone(self, found, kind, query):
        status, answer = self.listing(found, query)
        empty = {"warning": {"code": "NO_RESULTS_ON_PAGE", "message": "There are no results on this page."}}
        items = {}
        for zone in ZONES:
            here = [i for i in answer.get("items", []) if i["zone"].endswith("/" + zone)]
            items["zones/" + zone] = {kind: here} if here else empty
        return status, {**answer, "items": items}

    def find(self, zone, name):
        """By name or number."""
        self.check_zone(zone)
        with self.lock:
            for instance in self.instances.values():
                if instance["zone"].endswith("/" + zone) and name in (instance["name"], instance["id"]):
                    return instance
        raise missing(in_zone(zone, f"instances/{name}"))

    # --- operations

    def begin(self, kind, instance, work):
        """An operation, which is done beside everything else."""
        number = self.number()
        zone = instance["zone"]
        operation = {
            "kind": "compute#operation",
            "id": str(number),
            "name": f"operation-{number}-0-1",
            "zone": zone,
            "operationType": kind,
            "targetLink": instance["selfLink"],
            "targetId": instance["id"],
            "status": "RUNNING",
            "user": self.service_account["client_email"],
            "progress": 0,
            "insertTime": now(),
            "selfLink": f"{zone}/operations/operation-{number}-0-1",
        }
        self.operations[operation["name"]] = operation
        self.busy(instance, True)

        def run():
            failed = None
            try:
                self.clock.wait(self.settings.get(kind, 0))
                failed = work()
            finally:
                self.busy(instance, False)
            time.sleep(0.3)
            if failed:
                code, message = failed
                operation["error"] = {"errors": [{"code": code, "message": message}]}
                operation["httpErrorStatusCode"] = 503
                operation["httpErrorMessage"] = "SERVICE UNAVAILABLE"
            operation.update(progress=100, endTime=now(), status="DONE")

        answer = dict(operation)
        later(run)
        return 200, answer

    def busy(self, instance, is_busy):
        self.at_work = getattr(self, "at_work", set())
        (self.at_work.add if is_busy else self.at_work.discard)(instance["id"])

    def check_idle(self, instance):
        if instance["id"] in getattr(self, "at_work", ()):
            path = instance["selfLink"].removeprefix(ROOT)
            raise error(400, "resourceNotReady", f"The resource 'projects/{path}' is not ready")

    def get_operation(self, project, zone, name, query, body):
        operation = self.operations.get(name)
        if operation is None or not operation.get("zone", "").endswith("/" + zone):
            raise missing(in_zone(zone, f"operations/{name}"))
        return 200, operation

    # --- instances

    def make(self, zone, body, kind, status, disk={}):
        number = self.number()
        link = ROOT + f"{PROJECT}/zones/{zone}"
        scheduling = {"provisioningModel": "STANDARD", "automaticRestart": True, "onHostMaintenance": "MIGRATE"}
        instance = {
            "kind": "compute#instance",
            "id": str(number * 10**15 + 7),
            "name": body["name"],
            "zone": link,
            "selfLink": f"{link}/instances/{body['name']}",
            "machineType": f"{link}/machineTypes/{kind}",
            "status": status,
            "creationTimestamp": now(),
            "labels": body.get("labels") or {},
            "labelFingerprint": "",
            "metadata": body.get("metadata") or {"items": []},
            "deletionProtection": bool(body.get("deletionProtection")),
            "scheduling": {**scheduling, **(body.get("scheduling") or {})},
            "tags": body.get("tags") or {},
            "disks": [
                {
                    "boot": True,
                    "autoDelete": True,
                    "type": "PERSISTENT",
                    "source": f"{link}/disks/{body['name']}",
                    "diskSizeGb": str(disk.get("diskSizeGb") or 10),
                }
            ],
            "networkInterfaces": [
                {
                    "name": "nic0",
                    "network": network("default")["selfLink"],
                    "networkIP": f"10.132.0.{number % 250 + 2}",
                    "accessConfigs": [
                        {"type": "ONE_TO_ONE_NAT", "name": "External NAT", "natIP": f"192.0.2.{number % 250 + 1}"}
                    ],
                }
            ],
        }
        self.mark(instance)
        with self.lock:
            self.instances[number] = instance
            self.boot_types[number] = disk.get("diskType", "pd-standard").split("/")[-1]
        return instance

    def boot_disks(self):
        """The boot disks of instances are disks as others."""
        for number, instance in self.instances.items():
            zone, name = instance["zone"], instance["disks"][0]["source"].split("/")[-1]
            yield {
                "kind": "compute#disk",
                "id": str(number * 10**15 + 8),
                "name": name,
                "zone": zone,
                "selfLink": f"{zone}/disks/{name}",
                "type": f"{zone}/diskTypes/{self.boot_types[number]}",
                "sizeGb": instance["disks"][0]["diskSizeGb"],
                "status": "READY",
                "labels": {},
                "users": [instance["selfLink"]],
            }

    def mark(self, instance):
        """A new fingerprint of the labels."""
        text = json.dumps(instance["labels"], sort_keys=True)
        instance["labelFingerprint"] = base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()

    def halt(self, instance):
        instance["status"] = "TERMINATED"
        # An address that is not reserved goes.
        if not self.static_address(instance):
            instance["networkInterfaces"][0]["accessConfigs"][0].pop("natIP", None)

    def address(self, number):
        """The address of a machine that was started again."""
        if not self.machines.prefix:
            return f"192.0.2.{number % 250 + 1}"
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return self.machines.docker("inspect", "-f", form, self.machines.name(number)).strip()

    def number_of(self, instance):
        return int(instance["id"]) // 10**15

    def insert(self, project, zone, query, body):
        self.check_zone(zone)
        request = query.get("requestId")
        if request and not re.fullmatch("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", request):
            raise error(400, "invalid", f"Invalid value for field 'requestId': '{request}'.")
        with self.lock:
            if request in self.requests:
                return 200, self.operations[self.requests[request]]
            kind, disk = self.check_order(zone, body)
            access = (body["networkInterfaces"][0].get("accessConfigs") or [{}])[0]
            static = self.address_of(zone, access) if access.get("natIP") else None
            instance = self.make(zone, body, kind, "PROVISIONING", disk)
            image = disk["sourceImage"].split("/")[-1]
            card, wanted = instance["networkInterfaces"][0], body["networkInterfaces"][0]
            card["network"] = wanted.get("network") or card["network"]
            if not access:
                del card["accessConfigs"]
            else:
                del card["accessConfigs"][0]["natIP"]
            if static:
                static.update(status="IN_USE", users=[instance["selfLink"]])
                card["accessConfigs"][0]["natIP"] = static["address"]
        number = self.number_of(instance)
        items = {item["key"]: item["value"] for item in instance["metadata"].get("items", [])}
        # This project demands OS Login of all that do not decline it, which then ignore the keys:
        # https://docs.cloud.google.com/compute/docs/oslogin/set-up-oslogin
        lines = items.get("ssh-keys", "").splitlines() if items.get("enable-oslogin") == "FALSE" else []

        def boot():
            if zone in self.exhausted:
                time.sleep(0.3)
                with self.lock:
                    self.instances.pop(number, None)
                    self.free_addresses(instance)
                text = f"The zone 'projects/{PROJECT}/zones/{zone}' does not have enough resources available to fulfill the request."
                return "ZONE_RESOURCE_POOL_EXHAUSTED", text
            instance["status"] = "STAGING"
            users = dict(line.split(":", 1) for line in lines)
            ip = self.machines.make(number, list(users.values()))
            self.machines.load(number, self.contents.get(image))
            for user in users if self.machines.prefix else ():
                self.machines.docker("exec", self.machines.name(number), "sh", "-ec", MAKE_USER, "sh", user)
            if "accessConfigs" in card and not static:
                card["accessConfigs"][0]["natIP"] = ip
            instance["status"] = "RUNNING"

        answer = self.begin("insert", instance, boot)
        if request:
            self.requests[request] = answer[1]["name"]
        return answer

    def find_disk(self, zone, name):
        self.check_zone(zone)
        with self.lock:
            for disk in self.disks.values():
                if disk["zone"].endswith("/" + zone) and name == disk["name"]:
                    return disk
        raise missing(in_zone(zone, f"disks/{name}"))

    def insert_disk(self, project, zone, query, body):
        self.check_zone(zone)
        request = query.get("requestId")
        with self.lock:
            if request in self.requests:
                return 200, self.operations[self.requests[request]]
            name, size = body.get("name", ""), int(body["sizeGb"])
            kind = body.get("type", "pd-standard").split("/")[-1]
            if not re.fullmatch(NAME, name):
                raise error(400, "invalid", f"Invalid value for field 'resource.name': '{name}'.")
            # https://docs.cloud.google.com/compute/docs/disks/persistent-disks
            if not (10 if kind.startswith("pd-") else 4) <= size <= 65536:
                raise error(400, "invalid", f"Disk size cannot be {size} GB.")
            check_labels(body.get("labels") or {})
            if any(d["name"] == name and d["zone"].endswith("/" + zone) for d in self.disks.values()):
                raise error(409, "alreadyExists", f"The resource '{in_zone(zone, 'disks/' + name)}' already exists")
            number, link = self.number(), ROOT + f"{PROJECT}/zones/{zone}"
            disk = {
                "kind": "compute#disk",
                "id": str(number * 10**15 + 7),
                "name": name,
                "zone": link,
                "selfLink": f"{link}/disks/{name}",
                "type": f"{link}/diskTypes/{kind}",
                "sizeGb": str(size),
                "status": "CREATING",
                "creationTimestamp": now(),
                "labels": body.get("labels") or {},
                "labelFingerprint": "",
            }
            self.mark(disk)
            self.disks[number] = disk
            self.begins(disk)
        answer = self.begin("insert", disk, lambda: disk.update(status="READY"))
        if request:
            self.requests[request] = answer[1]["name"]
        return answer

    def delete_disk(self, project, zone, name, query, body):
        with self.lock:
            disk = self.find_disk(zone, name)
            self.check_idle(disk)
            self.check_unused(disk)

        def end():
            with self.lock:
                self.disks.pop(int(disk["id"]) // 10**15, None)
                self.ends(disk, "disk")

        return self.begin("delete", disk, end)

    def check_unused(self, disk):
        if disk.get("users"):
            path = disk["selfLink"].removeprefix(ROOT)
            by = disk["users"][0].removeprefix(ROOT)
            message = f"The disk resource 'projects/{path}' is already being used by 'projects/{by}'"
            raise error(400, "resourceInUseByAnotherResource", message)

    def resize_disk(self, project, zone, name, query, body):
        disk, size = self.find_disk(zone, name), int(body["sizeGb"])
        self.check_idle(disk)
        if size <= int(disk["sizeGb"]):
            raise error(400, "invalid", f"Invalid value for field 'sizeGb': '{size}'. Requested disk size cannot be smaller than or equal to the current size.")
        return self.begin("resize", disk, lambda: disk.update(sizeGb=str(size)))

    def attach_disk(self, instance, body):
        """https://docs.cloud.google.com/compute/docs/reference/rest/v1/instances/attachDisk"""
        zone = instance["zone"].split("/")[-1]
        parts = body["source"].split("/")
        if parts[-3] != zone:
            raise error(400, "invalid", "Invalid value for field 'resource.source': the disk must be in the zone of the instance.")
        disk = self.find_disk(zone, parts[-1])
        self.check_idle(disk)
        self.check_unused(disk)
        attached = {
            "kind": "compute#attachedDisk",
            "type": "PERSISTENT",
            "mode": body.get("mode", "READ_WRITE"),
            "source": disk["selfLink"],
            "deviceName": body.get("deviceName") or f"persistent-disk-{len(instance['disks'])}",
            "boot": False,
            "autoDelete": body.get("autoDelete", False),
        }

        def work():
            with self.lock:
                instance["disks"].append(attached)
                disk["users"] = [instance["selfLink"]]

        return self.begin("attachDisk", instance, work)

    def detach_disk(self, instance, device):
        found = [attached for attached in instance["disks"] if attached.get("deviceName") == device]
        if not found:
            raise error(400, "invalid", f"Invalid value for field 'disk': '{device}'. No attached disk found with device name '{device}'")
        disk = self.find_disk(instance["zone"].split("/")[-1], found[0]["source"].split("/")[-1])

        def work():
            with self.lock:
                instance["disks"].remove(found[0])
                disk.pop("users", None)

        return self.begin("detachDisk", instance, work)

    def check_order(self, zone, body):
        def invalid(field, value, cause):
            return error(400, "invalid", f"Invalid value for field 'resource.{field}': '{value}'. {cause}")

        name = body.get("name", "")
        if not re.fullmatch(NAME, name):
            raise invalid("name", name, f"Must be a match of regex '(?:{NAME})'")
        if any(i["name"] == name and i["zone"].endswith("/" + zone) for i in self.instances.values()):
            raise error(409, "alreadyExists", f"The resource '{in_zone(zone, 'instances/' + name)}' already exists")
        if len(self.instances) >= self.limit:
            raise error(403, "quotaExceeded", f"Quota 'INSTANCES' exceeded. Limit: {self.limit}.0 in region {zone[:-2]}.")
        check_labels(body.get("labels") or {})
        kind = body["machineType"].split("/")[-1]
        if f"zones/{zone}/machineTypes/{kind}" not in body["machineType"] or kind not in TYPES:
            raise invalid("machineType", body["machineType"], "The referenced resource does not exist.")
        disk = body["disks"][0]["initializeParams"]
        source = disk["sourceImage"].removeprefix(ROOT).removeprefix("projects/").split("/")
        found = [i for i in self.images(source[0]) if source[-1] in (i["name"], i.get("family"))]
        if not found:
            raise invalid("disks[0].initializeParams.sourceImage", disk["sourceImage"], "The referenced image resource cannot be found.")
        if found[0]["status"] != "READY":
            raise error(400, "resourceNotReady", f"The resource '{disk['sourceImage']}' is not ready")
        if found[0]["architecture"] != TYPES[kind][2]:
            raise error(400, "badRequest", "The image's architecture is not that of the machine type.")
        if int(disk.get("diskSizeGb") or found[0]["diskSizeGb"]) < int(found[0]["diskSizeGb"]):
            raise invalid("disks[0].initializeParams.diskSizeGb", disk["diskSizeGb"], "It is smaller than the image.")
        disk.setdefault("diskSizeGb", found[0]["diskSizeGb"])
        kind_of_disk = disk.get("diskType", "pd-standard").split("/")[-1]
        if kind.startswith("c4") != kind_of_disk.startswith("hyperdisk"):
            raise error(400, "badRequest", f"[{kind_of_disk}] features are not compatible for creating instance.")
        schedule = body.get("scheduling") or {}
        if schedule.get("provisioningModel") == "SPOT" and schedule.get("automaticRestart") is not False:
            raise invalid("scheduling.automaticRestart", "true", "Spot instances cannot be restarted automatically.")
        return kind, disk

    def delete(self, project, zone, name, query, body):
        with self.lock:
            instance = self.find(zone, name)
            self.check_idle(instance)
            if instance["deletionProtection"]:
                raise error(412, "conditionNotMet", "Invalid resource usage: 'Resource cannot be deleted if it's protected against deletion.'")
            instance["status"] = "STOPPING"

        def end():
            number = self.number_of(instance)
            self.machines.remove(number)
            with self.lock:
                self.instances.pop(number, None)
                self.free_addresses(instance)
                for disk in self.disks.values():
                    if instance["selfLink"] in disk.get("users", []):
                        del disk["users"]

        return self.begin("delete", instance, end)

    def act(self, project, zone, name, command, query, body):
        instance = self.find(zone, name)
        self.check_idle(instance)
        number, status = self.number_of(instance), instance["status"]
        card = instance["networkInterfaces"][0]

        def needs(*wanted):
            if status not in wanted:
                raise error(400, "resourceNotStopped", f"The instance is {status}: it must be {' or '.join(wanted)}.")

        if command == "attachDisk":
            return self.attach_disk(instance, body)
        if command == "detachDisk":
            return self.detach_disk(instance, query["deviceName"])
        if command == "setLabels":
            with self.lock:
                if body.get("labelFingerprint") != instance["labelFingerprint"]:
                    raise error(412, "conditionNotMet", "Labels fingerprint either invalid or resource labels have changed")
                check_labels(body["labels"])
                instance["labels"] = body["labels"]
                self.mark(instance)
            return self.begin("setLabels", instance, lambda: None)
        if command == "setName":
            needs("TERMINATED")
            if body.get("currentName") != instance["name"]:
                raise error(412, "conditionNotMet", "The current name is another one.")
            if any(i["name"] == body["name"] for i in self.instances.values()):
                raise error(409, "alreadyExists", f"The resource '{in_zone(zone, 'instances/' + body['name'])}' already exists")
            instance["name"] = body["name"]
            instance["selfLink"] = ROOT + in_zone(zone, "instances/" + body["name"]).removeprefix("projects/")
            return self.begin("setName", instance, lambda: None)
        if command == "setMachineType":
            needs("TERMINATED")
            kind = body["machineType"].split("/")[-1]
            changed = ROOT + f"{PROJECT}/zones/{zone}/machineTypes/{kind}"
            return self.begin("setMachineType", instance, lambda: instance.update(machineType=changed))
        if command == "reset":
            needs("RUNNING")
            return self.begin("reset", instance, lambda: self.machines.restart(number))
        if command in ("stop", "suspend"):
            needs("RUNNING", "SUSPENDED", "TERMINATED")
            instance["status"] = "STOPPING" if command == "stop" else "SUSPENDING"

            def stop():
                self.machines.stop(number)
                self.halt(instance)
                if command == "suspend":
                    instance["status"] = "SUSPENDED"

            return self.begin(command, instance, stop)
        if command in ("start", "resume"):
            needs("TERMINATED" if command == "start" else "SUSPENDED", "RUNNING")

            def start():
                self.machines.start(number)
                card["accessConfigs"][0]["natIP"] = self.static_address(instance) or self.address(number)
                instance["status"] = "RUNNING"

            instance["status"] = "STAGING"
            return self.begin(command, instance, start)
        raise missing(command)


if __name__ == "__main__":
    serve(Google())
