"""EC2 by moto, an independent implementation of AWS's API, and AWS's price list.

Prints two addresses: EC2's and the price list's.
"""

import http.client
import json
import logging
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import boto3
from cloud import Cloud, serve
from moto.server import ThreadedMotoServer

# Prices an hour, in USD.
PRICES = {"t3.micro": "0.0104000000", "t3.small": "0.0208000000", "m5.large": "0.0960000000"}


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


class Ec2(Cloud):
    """In front of moto, so that things can go wrong: the path of a fault is the action, `RunInstances`."""

    def __init__(self, moto, prices):
        super().__init__()
        self.moto = moto
        self.prices = prices

    def shift(self):
        ec2 = boto3.client(
            "ec2",
            region_name="us-east-1",
            endpoint_url="http://%s:%s" % self.moto,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        pages = ec2.get_paginator("describe_instances").paginate()
        all = [i["InstanceId"] for page in pages for r in page["Reservations"] for i in r["Instances"]]
        ec2.terminate_instances(InstanceIds=all)

    def name_of(self, path, text):
        return parse_qs(text.decode()).get("Action", [path])[0]

    def pass_on(self, method, path, text, headers):
        connection = http.client.HTTPConnection(*self.moto)
        connection.request(method, path, text, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read()


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    prices = ThreadingHTTPServer(("127.0.0.1", 0), PriceList)
    threading.Thread(target=prices.serve_forever, daemon=True).start()
    serve(Ec2(moto.get_host_and_port(), f"http://127.0.0.1:{prices.server_address[1]}"))
    moto.stop()
