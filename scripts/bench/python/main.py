"""A Lambda function in Python without packages, for comparison.

It has the loop of the Runtime API, the reading of a client's secret, the exchange, and a
token kept for each client. It signs nothing, which only the benchmark's Secrets Manager
accepts.
"""
import http.client
import json
import os
import ssl
import time
import urllib.parse

CONTEXT = ssl.create_default_context()
CONNECTIONS = {}  # by scheme and address
TOKENS = {}  # by client: the body and its expiry


def post(address, headers, body):
    url = urllib.parse.urlsplit(address)
    key = (url.scheme, url.netloc)
    if key not in CONNECTIONS:
        if url.scheme == "https":
            CONNECTIONS[key] = http.client.HTTPSConnection(url.netloc, context=CONTEXT)
        else:
            CONNECTIONS[key] = http.client.HTTPConnection(url.netloc)
    connection = CONNECTIONS[key]
    connection.request("POST", url.path or "/", body, headers)
    response = connection.getresponse()
    text = response.read()
    if response.status != 200:
        raise RuntimeError(response.status)
    return text.decode()


def token(client):
    kept = TOKENS.get(client)
    if kept and time.time() < kept[1]:
        return kept[0]
    secret = json.loads(post(os.environ["AWS_ENDPOINT_URL_SECRETS_MANAGER"], {
        "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "secretsmanager.GetSecretValue", "Authorization": "AWS4-HMAC-SHA256 Credential=none",
    }, json.dumps({"SecretId": os.environ["SECRET_PREFIX"] + client})))
    document = json.loads(secret["SecretString"])
    body = post(document["token_endpoint"], {"Content-Type": "application/x-www-form-urlencoded"}, urllib.parse.urlencode({
        "grant_type": "client_credentials", "client_id": document["client_id"], "client_secret": document["client_secret"],
    }))
    TOKENS[client] = body, time.time() + json.loads(body)["expires_in"] - 10
    return body


def handle(event):
    try:
        return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": token(event["pathParameters"]["client"])}
    except Exception:  # the benchmark ends at an answer without a token
        return {"statusCode": 502}


def main():
    runtime = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    base = "/2018-06-01/runtime/invocation/"
    while True:
        runtime.request("GET", base + "next")
        response = runtime.getresponse()
        event = json.loads(response.read())
        answer = json.dumps(handle(event), separators=(",", ":"))
        runtime.request("POST", base + response.headers["Lambda-Runtime-Aws-Request-Id"] + "/response", answer, {"Content-Type": "application/json"})
        runtime.getresponse().read()


main()
