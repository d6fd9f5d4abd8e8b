"""Lets token_vendor.py carry out the commands of a run of behaviours: requests by default, httpx if the argument is httpx."""

import json
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from token_vendor import HTTPXAuth, RequestsAuth, TokenVendor, VendorError  # noqa: E402


class Driver:
    def __init__(self, sender):
        self.sender, self.vendor, self.advanced = sender, None, 0

    def start(self, command):
        self.advanced = 0
        self.vendor = TokenVendor(command["urls"], region=command["region"], now=lambda: time.time() + self.advanced)
        return {}

    def advance(self, command):
        self.advanced += command["seconds"]
        return {}

    def token(self, command):
        tokens, errors, shown = [], [], []

        def get(ask):
            try:
                token = self.vendor.token(command["client"], **ask)
                tokens.append(token.fingerprint)
                shown.append(f"{token} {token!r}")
            except VendorError as error:
                errors.append({"status": error.status, "code": error.code, "retry_after": error.retry_after})
                shown.append(f"{error} {error!r} {vars(error)}")

        asks = [command["ask"]] * command.get("times", 1) + ([command["beside"]] if "beside" in command else [])
        threads = [threading.Thread(target=get, args=[ask]) for ask in asks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {"tokens": tokens, "error": errors[0] if errors else None, "shown": "".join(shown)}

    def request(self, command):
        body = command.get("body", "").encode()
        if command.get("stream"):
            body = iter([body])
        if self.sender == "requests":
            import requests

            auth = RequestsAuth(self.vendor, command["client"], **command["ask"])
            response = requests.request(command["method"], command["url"], data=body, auth=auth, timeout=30)
        elif self.sender == "httpx":
            import httpx

            auth = HTTPXAuth(self.vendor, command["client"], **command["ask"])
            with httpx.Client(auth=auth, follow_redirects=True) as client:
                response = client.request(command["method"], command["url"], content=body)
        else:
            response = self.request_async(command, body)
        return {"status": response.status_code}

    def request_async(self, command, body):
        import asyncio

        import httpx

        async def stream():
            for part in body:
                yield part

        async def send():
            auth = HTTPXAuth(self.vendor, command["client"], **command["ask"])
            async with httpx.AsyncClient(auth=auth, follow_redirects=True) as client:
                content = stream() if command.get("stream") else body
                return await client.request(command["method"], command["url"], content=content)

        return asyncio.run(send())


driver = Driver(sys.argv[1] if len(sys.argv) > 1 else "requests")
for line in sys.stdin:
    command = json.loads(line)
    print(json.dumps(getattr(driver, command["do"])(command)), flush=True)
