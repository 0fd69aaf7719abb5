"""DigitalOcean's API, as far as hitc uses it: https://docs.digitalocean.com/reference/api/digitalocean/.

With `DIGITALOCEAN_CONTRACT=FILE`, each request and each answer is checked against DigitalOcean's own
description of its API; what does not fit is listed by `GET /_violations`.
"""

import hashlib
import base64
import math
import os
import re
import time
import uuid
from datetime import datetime, timezone

from cloud import Cloud, Refused, Window, later, page, serve

REGIONS = ["nyc3", "ams3", "fra1"]
SIZES = {
    # Memory in MB, processors, disk in GB, transfer in TB, a month, an hour.
    "s-1vcpu-512mb-10gb": (512, 1, 10, 0.5, 4.0, 0.00595),
    "s-1vcpu-1gb": (1024, 1, 25, 1.0, 6.0, 0.00893),
    "s-1vcpu-2gb": (2048, 1, 50, 2.0, 12.0, 0.01786),
    "s-2vcpu-4gb": (4096, 2, 80, 4.0, 24.0, 0.03571),
    "c-2": (4096, 2, 25, 4.0, 42.0, 0.0625),
    "gpu-h100x1-80gb": (245760, 20, 720, 15.0, 2279.0, 3.39),
}
IMAGES = ["debian-12-x64", "debian-13-x64", "ubuntu-22-04-x64", "ubuntu-24-04-x64"]


def size(slug):
    memory, cores, disk, transfer, month, hour = SIZES[slug]
    return {
        "slug": slug,
        "memory": memory,
        "vcpus": cores,
        "disk": disk,
        "transfer": transfer,
        "price_monthly": month,
        "price_hourly": hour,
        # One is not to be had everywhere.
        "regions": ["ams3"] if slug == "c-2" else REGIONS,
        "available": True,
        "description": "Basic",
    }


def region(slug):
    return {
        "slug": slug,
        "name": slug.upper(),
        "features": ["metadata"],
        "available": slug != "fra1",
        "sizes": list(SIZES),
    }


def image(slug):
    return {
        "id": 100 + IMAGES.index(slug),
        "name": slug,
        "type": "base",
        "distribution": "Debian" if "debian" in slug else "Ubuntu",
        "slug": slug,
        "public": True,
        "regions": REGIONS,
        "created_at": "2026-01-01T00:00:00Z",
        "min_disk_size": 7,
        "size_gigabytes": 1.5,
        "description": slug,
        "tags": [],
        "status": "available",
        "error_message": "",
    }


def fingerprint(key):
    """As ssh-keygen -E md5 has it."""
    digest = hashlib.md5(base64.b64decode(key.split()[1] + "==")).hexdigest()
    return ":".join(digest[at : at + 2] for at in range(0, 32, 2))


def error(status, name, message):
    return Refused(status, {"id": name, "message": message, "request_id": "4d9d8375-3c56-4925-a3e7-eb137fed17e9"})


def listing(key, items, query):
    found, number, last = page(items, query, 200)
    links = {"pages": {}}
    if number < last:
        links["pages"] = {
            "next": f"https://api.digitalocean.com/v2?page={number + 1}",
            "last": f"https://api.digitalocean.com/v2?page={last}",
        }
    return 200, {key: found, "links": links, "meta": {"total": len(items)}}


class DigitalOcean(Cloud):
    def __init__(self):
        super().__init__()
        self.droplets = {}
        self.orders = []
        self.firewalls = []
        # The snapshots of droplets, and what is on their disks.
        self.snapshots, self.disks = {}, {}
        # The droplet of each reserved address.
        self.addresses = {}
        self.volumes = {}
        self.keys = {}
        self.tags = set()
        self.actions = {}
        self.limit = int(os.environ.get("DROPLET_LIMIT", "100000"))
        # The droplets with a pending event, and its type.
        self.pending = {}
        # 5000 requests an hour; a burst of 5 % of them, 250, a minute; 10 requests for keys in 60 s
        # (https://docs.digitalocean.com/reference/api/digitalocean/#section/Introduction/Rate-Limit).
        self.hour, self.burst, self.of_keys = Window(5000, 3600), Window(250, 60), Window(10, 60)
        self.settings_changed(self.settings)
        self.routes = [
            ("GET", "/v2/account", self.account),
            ("GET", "/v2/account/keys", self.list_keys),
            ("POST", "/v2/account/keys", self.add_key),
            ("GET", "/v2/account/keys/([^/]+)", self.get_key),
            ("GET", "/v2/regions", lambda query, body: listing("regions", [region(r) for r in REGIONS], query)),
            ("GET", "/v2/sizes", lambda query, body: listing("sizes", [size(s) for s in SIZES], query)),
            ("GET", "/v2/images", self.list_images),
            ("GET", "/v2/images/([^/]+)", self.get_image),
            ("PUT", "/v2/images/([0-9]+)", self.rename_image),
            ("DELETE", "/v2/images/([0-9]+)", self.delete_image),
            ("GET", "/v2/droplets", self.list_droplets),
            ("POST", "/v2/droplets", self.create),
            ("GET", "/v2/droplets/([0-9]+)", self.get),
            ("DELETE", "/v2/droplets/([0-9]+)", self.destroy),
            ("POST", "/v2/droplets/([0-9]+)/actions", self.act),
            ("GET", "/v2/droplets/([0-9]+)/actions", self.list_actions),
            ("GET", "/v2/droplets/([0-9]+)/actions/([0-9]+)", self.get_action),
            ("GET", "/v2/actions/([0-9]+)", lambda n, query, body: self.get_action(None, n, query, body)),
            ("GET", "/v2/reserved_ips/([0-9.]+)", self.get_address),
            ("POST", "/v2/reserved_ips/([0-9.]+)/actions", self.act_on_address),
            # https://docs.digitalocean.com/reference/api/digitalocean/#operation/firewalls_list
            ("GET", "/v2/actions", lambda query, body: listing("actions", list(self.actions.values()), query)),
            ("GET", "/v2/firewalls", lambda query, body: listing("firewalls", self.firewalls, query)),
            # https://docs.digitalocean.com/reference/api/digitalocean/#tag/Block-Storage
            ("GET", "/v2/volumes", self.list_volumes),
            ("POST", "/v2/volumes", self.create_volume),
            ("GET", "/v2/volumes/([0-9a-f-]+)", lambda n, query, body: (200, {"volume": self.find_volume(n)})),
            ("DELETE", "/v2/volumes/([0-9a-f-]+)", self.delete_volume),
            ("POST", "/v2/volumes/([0-9a-f-]+)/actions", self.act_on_volume),
            ("POST", "/v2/tags", self.add_tag),
            ("POST", "/v2/tags/([^/]+)/resources", self.tag),
            ("DELETE", "/v2/tags/([^/]+)/resources", self.untag),
        ]
        contract = os.environ.get("DIGITALOCEAN_CONTRACT")
        if contract:
            from contract import Contract

            self.contract = Contract(contract)

    def settings_changed(self, changed):
        if changed.get("requests"):
            self.burst.most = changed["requests"]

    # https://docs.digitalocean.com/reference/api/scopes/
    SCOPES = [
        ("GET", "/v2/account", "account:read"),
        ("GET", "/v2/account/keys", "ssh_key:read"),
        ("POST", "/v2/account/keys", "ssh_key:create"),
        ("GET", "/v2/droplets.*", "droplet:read"),
        ("POST", "/v2/droplets", "droplet:create"),
        ("POST", "/v2/droplets/.*", "droplet:update"),
        ("DELETE", "/v2/droplets.*", "droplet:delete"),
        ("POST", "/v2/tags.*", "tag:create"),
        ("DELETE", "/v2/tags.*", "tag:delete"),
        ("GET", "/v2/regions", "regions:read"),
        ("GET", "/v2/sizes", "sizes:read"),
        ("GET", "/v2/images.*", "image:read"),
        ("GET", "/v2/actions.*", "actions:read"),
        ("GET", "/v2/tags.*", "tag:read"),
        ("GET", "/v2/firewalls.*", "firewall:read"),
        ("GET", "/v2/reserved_ips.*", "reserved_ip:read"),
    ]

    def check_scope(self, method, path):
        """A token with custom scopes may do what they say."""
        scopes = self.settings["scopes"]
        for wanted, pattern, scope in self.SCOPES:
            if scopes is None or wanted != method or not re.fullmatch(pattern, path):
                continue
            if scope not in scopes:
                raise error(403, "forbidden", f"You are missing the required permission {scope}.")
            return

    def limit_requests(self, method, path):
        self.check_scope(method, path)
        now = self.clock.now()
        waits = self.hour.take(now)
        if waits is None and method == "GET" and path.startswith("/v2/account/keys"):
            waits = self.of_keys.take(now)
        headers = {
            "ratelimit-limit": self.hour.most,
            "ratelimit-remaining": self.hour.left(),
            "ratelimit-reset": math.ceil(time.time() + self.clock.real(self.hour.oldest(now))),
        }
        if waits is None:
            waits = self.burst.take(now)
            if waits is None:
                return headers
            # Only with this limit (https://docs.digitalocean.com/release-notes/2023/api-rate-limit).
            headers["retry-after"] = math.ceil(self.clock.real(waits))
        body = {"id": "too_many_requests", "message": "API Rate limit exceeded."}
        raise Refused(429, body, headers)

    def control(self, method, path, body):
        if path == "/_violations":
            return 200, self.contract.violations if hasattr(self, "contract") else []
        if path == "/_orders":
            return 200, self.orders
        if path == "/_images":
            return 200, list(self.snapshots.values())
        if path == "/_droplets":
            # Droplets that are there from the beginning.
            for name, tags in body:
                droplet = self.make(name, "s-1vcpu-1gb", "debian-13-x64", "nyc3", tags, [], "active")
                del self.shown[droplet["id"]]
            return 200, {}
        if path == "/_address":
            # As if somebody had reserved one at the provider's page.
            self.addresses[body] = None
            return 200, {}
        if path == "/_assign":
            # As if somebody had assigned an address at the provider's page.
            address, name = body
            found = [number for number, droplet in self.droplets.items() if droplet["name"] == name]
            self.addresses[address] = found[0]
            return 200, {}
        if path == "/_act":
            # As if somebody had done it at the provider's page.
            name, kind = body
            for number, droplet in list(self.droplets.items()):
                if droplet["name"] == name:
                    self.act(number, {}, {"type": kind})
            return 200, {}
        if path == "/_tags":
            # As if somebody had changed them at the provider's page.
            for name, tags in body:
                for droplet in self.droplets.values():
                    if droplet["name"] == name:
                        droplet["tags"] = tags
            return 200, {}
        if path == "/_volumes":
            return 200, list(self.volumes.values())
        if path == "/_volume":
            # As if somebody had changed it at the provider's page.
            name, changes = body
            for volume in self.volumes.values():
                if volume["name"] == name:
                    volume.update(changes)
            return 200, {}
        if path == "/_firewall":
            # As if somebody had made one at the provider's page and applied it to all droplets.
            self.firewalls.append({"droplet_ids": list(self.droplets), "tags": [], **body})
            return 200, {}
        return super().control(method, path, body)

    def stop(self, name):
        for droplet in self.droplets.values():
            if droplet["name"] == name:
                self.machines.stop(droplet["id"])
                droplet["status"] = "off"

    def shift(self):
        with self.lock:
            self.droplets.pop(min(self.droplets, default=None), None)

    def being_deleted(self):
        actions = list(self.actions.values())
        return sum(action["type"] == "destroy" and action["status"] == "in-progress" for action in actions)

    def count(self):
        return len(self.droplets)

    def unauthorized(self):
        return 401, {"id": "unauthorized", "message": "Unable to authenticate you"}

    def not_found(self):
        return 404, {"id": "not_found", "message": "The resource you requested could not be found."}

    def account(self, query, body):
        return 200, {
            "account": {
                "droplet_limit": 25,
                "floating_ip_limit": 5,
                "email": "test@example.com",
                "uuid": "b6fr89dbf6d9156cace5f3c78dc9851d957381ef",
                "email_verified": True,
                "status": "active",
                "status_message": "",
            }
        }

    def list_keys(self, query, body):
        return listing("ssh_keys", list(self.keys.values()), query)

    def add_key(self, query, body):
        if len(body["public_key"].split()) < 2:
            raise error(422, "unprocessable_entity", "Key invalid, key should be of the format `type key [comment]`")
        with self.lock:
            if any(key["public_key"] == body["public_key"] for key in self.keys.values()):
                raise error(422, "unprocessable_entity", "SSH Key is already in use on your account")
            number = self.number()
            key = {"id": number, "fingerprint": fingerprint(body["public_key"]), **body}
            self.keys[number] = key
        return 201, {"ssh_key": key}

    def get_key(self, name, query, body):
        for key in self.keys.values():
            if name in (str(key["id"]), key["fingerprint"]):
                return 200, {"ssh_key": key}
        return self.not_found()

    def list_images(self, query, body):
        with self.lock:
            own = self.listed(self.snapshots.values(), "snapshot")
        images = own if query.get("private") == "true" else [image(slug) for slug in IMAGES] + own
        if "tag_name" in query:
            images = [image for image in images if query["tag_name"] in image["tags"]]
        return listing("images", images, query)

    def get_image(self, name, query, body):
        if name in IMAGES:
            return 200, {"image": image(name)}
        # "Private images must be identified by image id": the description of the API.
        return 200, {"image": self.find_snapshot(name if name.isdigit() else 0)}

    def find_snapshot(self, number):
        snapshot = self.snapshots.get(int(number))
        if snapshot is None:
            raise error(404, "not_found", "The resource you requested could not be found.")
        return snapshot

    def rename_image(self, number, query, body):
        self.find_snapshot(number)["name"] = body["name"]
        return 200, {"image": self.find_snapshot(number)}

    def delete_image(self, number, query, body):
        with self.lock:
            snapshot = self.find_snapshot(number)
            del self.snapshots[int(number)]
            self.ends(snapshot, "snapshot")
        return 204, None

    def take_snapshot(self, droplet, name):
        """https://docs.digitalocean.com/products/snapshots/how-to/snapshot-droplets/: the image exists when the
        action is done. It needs a disk as large as that of the droplet. Two may have one name."""
        number = self.number()
        saved = self.machines.save(droplet["id"])
        with self.lock:
            snapshot = {
                **image(IMAGES[1]),
                "id": number,
                "name": name,
                "type": "snapshot",
                "slug": None,
                "public": False,
                "regions": [droplet["region"]["slug"]],
                "created_at": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "min_disk_size": droplet["disk"],
                "size_gigabytes": 2.34,
                "tags": [],
            }
            self.snapshots[number], self.disks[number] = snapshot, saved
            droplet["snapshot_ids"].append(number)
            self.begins(snapshot)

    def find(self, number):
        droplet = self.droplets.get(int(number))
        if droplet is None:
            raise error(404, "not_found", "The resource you requested could not be found.")
        return droplet

    def list_droplets(self, query, body):
        filters = [name for name in ("name", "tag_name", "type") if name in query]
        if len(filters) > 1:
            # The parameters droplet_name, droplet_tag_name and droplet_type of the API's description.
            raise error(422, "unprocessable_entity", f"{filters[0]} can not be combined with {filters[1]}")
        gpus = query.get("type") == "gpus"
        with self.lock:
            found = [
                droplet
                for droplet in self.listed(self.droplets.values())
                # By default, only droplets without GPU are returned.
                if droplet["size_slug"].startswith("gpu-") == gpus
                and query.get("name", droplet["name"]).lower() == droplet["name"].lower()
                and ("tag_name" not in query or query["tag_name"] in droplet["tags"])
            ]
        return listing("droplets", found, query)

    def make(self, name, slug, of, where, tags, keys, status):
        number = self.number()
        memory, cores, disk = SIZES[slug][:3]
        droplet = {
            "id": number,
            "name": name,
            "memory": memory,
            "vcpus": cores,
            "disk": disk,
            "locked": False,
            "status": status,
            "created_at": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "features": [],
            "backup_ids": [],
            "next_backup_window": None,
            "snapshot_ids": [],
            "image": image(of),
            "volume_ids": [],
            "size": size(slug),
            "size_slug": slug,
            "networks": {"v4": [], "v6": []},
            "region": region(where),
            "tags": tags,
        }
        self.tags.update(tags)
        self.droplets[number] = droplet
        self.begins(droplet)
        if status == "active":
            self.address(droplet, f"192.0.2.{number % 250 + 1}")
        return droplet

    def create(self, query, body):
        with self.lock:
            self.orders.append(body)
            snapshot = self.snapshots.get(body["image"]) if isinstance(body["image"], int) else None
            if body["size"] not in SIZES or not (snapshot or body["image"] in IMAGES):
                raise error(422, "unprocessable_entity", "You specified an invalid size or image for Droplet creation.")
            if not re.fullmatch("[A-Za-z0-9.-]+", body["name"]):
                raise error(422, "unprocessable_entity", "Only valid hostname characters are allowed.")
            if body["size"].startswith("gpu-") and body["region"] == "ams3":
                raise error(422, "unprocessable_entity", "Size is not available in this region.")
            if len(self.droplets) >= self.limit:
                raise error(422, "unprocessable_entity", "creating this/these droplet(s) will exceed your droplet limit")
            if snapshot and snapshot["min_disk_size"] > SIZES[body["size"]][2]:
                raise error(422, "unprocessable_entity", "The image you specified requires a larger disk.")
            if snapshot and body["region"] not in snapshot["regions"]:
                raise error(422, "unprocessable_entity", "The image you specified is not available in this region.")
            keys = [self.keys[key]["public_key"] for key in body["ssh_keys"] if key in self.keys]
            of = IMAGES[1] if snapshot else body["image"]
            droplet = self.make(body["name"], body["size"], of, body["region"], list(body["tags"]), keys, "new")
            if snapshot:
                droplet["image"] = snapshot
            if body.get("ipv6"):
                droplet["features"] = ["ipv6"]
        later(lambda: self.boot(droplet, keys))
        return 202, {"droplet": dict(droplet), "links": {"actions": []}}

    def boot(self, droplet, keys):
        address = self.machines.make(droplet["id"], keys)
        self.machines.load(droplet["id"], self.disks.get(droplet["image"]["id"]))
        with self.lock:
            self.address(droplet, address)
            droplet["status"] = "active"

    def address(self, droplet, address):
        droplet["networks"]["v4"] = [
            {"ip_address": "10.132.0.2", "netmask": "255.255.0.0", "gateway": "10.132.0.1", "type": "private"},
            {"ip_address": address, "netmask": "255.255.240.0", "gateway": "192.0.2.254", "type": "public"},
        ]
        if "ipv6" in droplet["features"]:
            network = {"ip_address": f"2001:db8::{droplet['id']:x}", "netmask": 64, "gateway": "2001:db8::1"}
            droplet["networks"]["v6"] = [{**network, "type": "public"}]

    def get(self, number, query, body):
        return 200, {"droplet": self.find(number)}

    def begin(self, droplet, kind, work):
        """An action, which is done beside everything else. A droplet has one at a time."""
        with self.lock:
            if droplet["id"] in self.pending:
                # https://github.com/digitalocean/terraform-provider-digitalocean/issues/361
                raise error(422, "unprocessable_entity", "Droplet already has a pending event.")
            self.pending[droplet["id"]] = kind
            droplet["locked"] = True
        action = {
            "id": self.number(),
            "status": "in-progress",
            "type": kind,
            "started_at": "2026-01-01T00:00:00Z",
            "completed_at": None,
            "resource_id": droplet["id"],
            "resource_type": "droplet",
            "region": droplet["region"],
            "region_slug": droplet["region"]["slug"],
        }
        self.actions[action["id"]] = action
        answer = dict(action)

        def run():
            self.clock.wait(self.takes("deletion" if kind == "destroy" else kind))
            # As if the cloud could not do it: the setting `fails` names the kinds of such actions.
            is_failed = kind in self.settings.get("fails", [])
            if not is_failed:
                work()
            with self.lock:
                action["completed_at"] = "2026-01-01T00:00:01Z"
                action["status"] = "errored" if is_failed else "completed"
                droplet["locked"] = False
                del self.pending[droplet["id"]]

        later(run)
        return answer

    def destroy(self, number, query, body):
        """204 says that the request was accepted: the droplet is there, and active, for a while
        (https://github.com/digitalocean/terraform-provider-digitalocean/issues/283)."""
        droplet = self.find(number)

        def work():
            with self.lock:
                self.droplets.pop(droplet["id"], None)
                self.ends(droplet)
                for volume in self.volumes.values():
                    if droplet["id"] in volume["droplet_ids"]:
                        volume["droplet_ids"] = []
            self.machines.remove(droplet["id"])

        self.begin(droplet, "destroy", work)
        return 204, None

    def act(self, number, query, body):
        droplet, kind = self.find(number), body["type"]
        if kind == "resize" and droplet["status"] != "off":
            raise error(422, "unprocessable_entity", "Droplet must be powered off to resize.")

        def work():
            number = droplet["id"]
            if kind == "reboot":
                self.machines.restart(number)
            elif kind in ("shutdown", "power_off"):
                self.machines.stop(number)
                droplet["status"] = "off"
            elif kind == "power_on":
                self.machines.start(number)
                droplet["status"] = "active"
            elif kind == "snapshot":
                self.take_snapshot(droplet, body["name"])
            elif kind == "rename":
                droplet["name"] = body["name"]
            elif kind == "resize":
                droplet["size_slug"] = body["size"]
                droplet["size"] = size(body["size"])

        return 201, {"action": self.begin(droplet, kind, work)}

    def get_address(self, address, query, body):
        if address not in self.addresses:
            return self.not_found()
        droplet = self.droplets.get(self.addresses[address])
        return 200, {
            "reserved_ip": {
                "ip": address,
                "droplet": droplet,
                "region": region("nyc3"),
                "locked": False,
                "project_id": "746c6152-2fa2-11ed-92d3-27aaa54e4988",
            }
        }

    def act_on_address(self, address, query, body):
        if address not in self.addresses:
            return self.not_found()
        if self.find(body["droplet_id"])["status"] != "active":
            raise error(422, "unprocessable_entity", "The Droplet is not active.")
        self.addresses[address] = body["droplet_id"]
        action = {
            "id": self.number(),
            "status": "completed",
            "type": "assign_ip",
            "started_at": "2026-01-01T00:00:00Z",
            "completed_at": "2026-01-01T00:00:01Z",
            "resource_id": 758604968,
            "resource_type": "reserved_ip",
            "region": region("nyc3"),
            "region_slug": "nyc3",
        }
        self.actions[action["id"]] = action
        return 201, {"action": {**action, "status": "in-progress"}}

    def list_volumes(self, query, body):
        with self.lock:
            found = [
                volume
                for volume in self.listed(self.volumes.values(), "volume")
                if query.get("name", volume["name"]) == volume["name"]
                and query.get("region", volume["region"]["slug"]) == volume["region"]["slug"]
            ]
        return listing("volumes", found, query)

    def find_volume(self, number):
        if number not in self.volumes:
            raise error(404, "not_found", "The resource you requested could not be found.")
        return self.volumes[number]

    def create_volume(self, query, body):
        name, size, where = body["name"], body["size_gigabytes"], body["region"]
        # Names and sizes: `volume_base` in DigitalOcean's OpenAPI description, and
        # https://docs.digitalocean.com/products/volumes/details/limits/
        if not re.fullmatch("[a-z][a-z0-9-]{0,63}", name):
            raise error(422, "unprocessable_entity", "invalid name")
        if not 1 <= size <= 16384 or where not in REGIONS:
            raise error(422, "unprocessable_entity", "invalid size or region")
        with self.lock:
            if any(v["name"] == name and v["region"]["slug"] == where for v in self.volumes.values()):
                # https://github.com/ansible/ansible/issues/39655
                raise error(409, "conflict", "failed to create volume")
            volume = {
                "id": str(uuid.UUID(int=self.number())),
                "name": name,
                "size_gigabytes": size,
                "description": "",
                "region": region(where),
                "droplet_ids": [],
                "tags": body.get("tags") or [],
                "created_at": "2026-01-01T00:00:00Z",
                "filesystem_type": "",
                "filesystem_label": "",
            }
            self.volumes[volume["id"]] = volume
            self.begins(volume)
        return 201, {"volume": volume}

    def delete_volume(self, number, query, body):
        with self.lock:
            volume = self.find_volume(number)
            if volume["droplet_ids"]:
                # https://docs.digitalocean.com/products/volumes/how-to/delete/: detach it first.
                raise error(409, "conflict", "attached volume cannot be deleted")
            del self.volumes[number]
            self.ends(volume, "volume")
        return 204, None

    def act_on_volume(self, number, query, body):
        """https://docs.digitalocean.com/reference/api/digitalocean/#operation/volumeActions_post_byId"""
        volume, kind = self.find_volume(number), body["type"]
        busy = []
        with self.lock:
            if body["region"] != volume["region"]["slug"]:
                raise error(422, "unprocessable_entity", "invalid region")
            if kind == "resize" and body["size_gigabytes"] <= volume["size_gigabytes"]:
                raise error(422, "unprocessable_entity", "Volumes may only be resized upwards.")
            if kind != "resize":
                droplet = self.find(body["droplet_id"])
                if kind == "attach" and volume["droplet_ids"]:
                    raise error(422, "unprocessable_entity", "volume is already attached to a droplet")
                if kind == "detach" and droplet["id"] not in volume["droplet_ids"]:
                    raise error(422, "unprocessable_entity", "volume is not attached to the droplet")
                if droplet["region"]["slug"] != volume["region"]["slug"]:
                    raise error(422, "unprocessable_entity", "volume and droplet must be in the same region")
                if sum(droplet["id"] in v["droplet_ids"] for v in self.volumes.values()) >= 15 and kind == "attach":
                    raise error(422, "unprocessable_entity", "droplet has the most volumes already")
                busy.append(droplet["id"])
            busy.append(number)
            if any(one in self.pending for one in busy):
                raise error(422, "unprocessable_entity", "Droplet already has a pending event.")
            self.pending.update((one, kind) for one in busy)
        action = {
            "id": self.number(),
            "status": "in-progress",
            "type": f"{kind}_volume",
            "started_at": "2026-01-01T00:00:00Z",
            "completed_at": None,
            "resource_id": None,
            "resource_type": "backend",
            "region": volume["region"],
            "region_slug": volume["region"]["slug"],
        }
        self.actions[action["id"]] = action
        answer = dict(action)

        def run():
            self.clock.wait(self.takes("volume"))
            with self.lock:
                if kind == "resize":
                    volume["size_gigabytes"] = body["size_gigabytes"]
                else:
                    volume["droplet_ids"] = [body["droplet_id"]] if kind == "attach" else []
                action["completed_at"] = "2026-01-01T00:00:01Z"
                action["status"] = "completed"
                for one in busy:
                    del self.pending[one]

        later(run)
        return 202, {"action": answer}

    def list_actions(self, number, query, body):
        self.find(number)
        found = [action for action in self.actions.values() if action["resource_id"] == int(number)]
        return listing("actions", found[::-1], query)

    def get_action(self, number, action, query, body):
        return 200, {"action": self.actions[int(action)]}

    def add_tag(self, query, body):
        self.tags.add(body["name"])
        nothing = {"count": 0}
        kinds = ["droplets", "imgages", "volumes", "volume_snapshots", "databases"]
        return 201, {"tag": {"name": body["name"], "resources": {"count": 0, **{kind: nothing for kind in kinds}}}}

    def tag(self, tag, query, body):
        if tag not in self.tags:
            return self.not_found()
        for resource in body["resources"]:
            is_image = resource["resource_type"] == "image"
            found = self.find_snapshot if is_image else self.find
            tags = found(resource["resource_id"])["tags"]
            if tag not in tags:
                tags.append(tag)
        return 204, None

    def untag(self, tag, query, body):
        if tag not in self.tags:
            return self.not_found()
        for resource in body["resources"]:
            tags = self.find(resource["resource_id"])["tags"]
            if tag in tags:
                tags.remove(tag)
        return 204, None


if __name__ == "__main__":
    serve(DigitalOcean())
