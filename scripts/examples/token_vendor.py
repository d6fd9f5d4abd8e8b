"""OAuth 2.0 access tokens from a token vendor, without a client secret.

    vendor = TokenVendor(os.environ["TOKEN_URL"])
    vendor.token("billing", scope="read").access_token
    requests.get(url, auth=RequestsAuth(vendor, "billing"))
    httpx.Client(auth=HTTPXAuth(vendor, "billing"))

botocore signs the calls with the AWS credentials of its session. requests and httpx are needed for their classes only.
All classes may be used by several threads.
"""

import asyncio
import concurrent.futures
import hashlib
import json
import os
import random
import re
import threading
import time

import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies

try:
    import httpx
except ImportError:
    httpx = None

STICKY = 60  # seconds that another URL is used after one failed
INTERVAL = 30  # seconds between two reports of one refused token: the vendor replaces it as often
MAX_KEPT = 1000  # tokens in memory
# Of the vendor's errors; another one is a proxy's. No set, because a proxy's may be an object, which a set cannot search.
CODES = (
    "invalid_request", "unsupported_grant_type", "invalid_scope", "invalid_target", "access_denied", "server_error", "temporarily_unavailable",
)
HOST = re.compile(r"\.(execute-api|lambda-url)\.([a-z0-9-]+)\.")

# Calls for asyncio. The loop's own threads also resolve the names of the whole program.
_threads = concurrent.futures.ThreadPoolExecutor(16, "token-vendor")


class VendorError(Exception):
    """A request that brought no token. It holds no token."""

    def __init__(self, description, status=0, code="", retry_after=0, request_id=""):
        super().__init__(f"token vendor: {code or 'failed'}: {description} (status {status}, request {request_id or 'unknown'})")
        self.description, self.status, self.code = description, status, code
        self.retry_after, self.request_id = retry_after, request_id  # seconds; empty: unknown

    @property
    def outage(self):
        """Whether another URL may do better."""
        return self.status == 0 and self.code != "no_credentials" or self.status >= 500


class Token:
    """An access token with its times, in seconds of the clock. Printed, it does not show itself."""

    def __init__(self, answer, asked, min_ttl):
        self.access_token, self.token_type = answer["access_token"], answer.get("token_type", "Bearer")
        life = answer.get("expires_in", 0)
        self.received, self.min_ttl = asked, min_ttl  # of the request
        self.expires_at = asked + max(life - 1, life / 2)  # expires_in is in whole seconds
        self.refresh_at = min(self.expires_at, asked + answer.get("refresh_after", life))
        self.reported = float("-inf")  # when it was reported as refused without another one
        self.fingerprint = hashlib.sha256(self.access_token.encode()).hexdigest()

    @property
    def header(self):
        """The value of the header Authorization."""
        return f"{self.token_type} {self.access_token}"

    def __repr__(self):
        return "Token([redacted])"


class _Kept:
    """What is known of one client and its parameters; guarded by lock."""

    def __init__(self):
        self.lock = threading.Lock()
        self.token, self.error, self.failures, self.retry_at = None, None, 0, float("-inf")
        self.pauses = {}  # by the URL's index: until when it asked to be left alone, and its error


class TokenVendor:
    """Gets tokens, and keeps them until the vendor's refresh_after.

    urls: the stack's output TokenUrl, or several; the next one is used for a minute after one failed.
    session: a botocore session (default: a new one). region: for URLs whose host does not name it.
    """

    def __init__(self, urls, session=None, region=None, now=time.time):
        self._urls = [url.rstrip("/") for url in ([urls] if isinstance(urls, str) else urls)]
        self._session = session or botocore.session.get_session()
        self._region = region or self._session.get_config_variable("region") or os.environ.get("AWS_REGION")
        if not self._region and not all(HOST.search(url) for url in self._urls):
            raise ValueError("region is missing, and a URL does not name it")
        self._now, self._kept, self._lock, self._current, self._until = now, {}, threading.Lock(), 0, 0
        verify = self._session.get_config_variable("ca_bundle") or True
        self._http = [URLLib3Session(timeout=(5, 30), verify=verify, proxies=get_environ_proxies(url)) for url in self._urls]

    def token(self, client, min_ttl=0, **ask):
        """Returns a token. ask: scope, resource, audience and the vendor's other parameters. Raises VendorError."""
        return self._get(client, ask, min_ttl, None)

    def replace(self, client, refused, min_ttl=0, **ask):
        """Returns another token than one that an API refused; the same one if the vendor has no other yet."""
        return self._get(client, ask, min_ttl, refused.fingerprint)

    def _get(self, client, ask, min_ttl, rejected):
        kept = self._find(client + json.dumps(ask, sort_keys=True))
        token, now = kept.token, self._now()
        # While another thread renews the token, the old one serves.
        if self._serves(token, now, min_ttl, rejected) and (now < token.refresh_at or kept.lock.locked()):
            return token
        with kept.lock:  # one call serves all that wait
            token, now = kept.token, self._now()
            if self._serves(token, now, min_ttl, rejected) and now < token.refresh_at:
                return token
            if now >= kept.retry_at:
                try:
                    return self._renew(kept, client, ask, min_ttl, rejected)
                except VendorError as error:
                    now = self._now()
                    self._note(kept, error, now)
            if kept.token is not None and now < kept.token.expires_at and not rejected:
                return kept.token
            error = kept.error
            raise VendorError(error.description, error.status, error.code, max(1, kept.retry_at - now), error.request_id)

    @staticmethod
    def _note(kept, error, now):
        """Notes an error, after which the vendor is not called for a while."""
        kept.failures, kept.error = kept.failures + 1, error
        kept.retry_at = now + max(min(2 ** (kept.failures - 1), 30) * random.uniform(0.5, 1), error.retry_after)
        if error.code == "access_denied":
            kept.token = None  # the vendor says that the caller may not have it

    def _find(self, key):
        with self._lock:
            if len(self._kept) >= MAX_KEPT and key not in self._kept:
                self._kept.pop(next(iter(self._kept)))
            return self._kept.setdefault(key, _Kept())

    @staticmethod
    def _serves(token, now, min_ttl, rejected):
        if token is None or now >= token.expires_at:
            return False
        if token.fingerprint == rejected:
            return now - token.reported < INTERVAL
        # The vendor gave this token for this min_ttl a moment ago, and would give it again.
        return token.expires_at - now >= min_ttl or token.min_ttl >= min_ttl and now - token.received < INTERVAL

    def _renew(self, kept, client, ask, min_ttl, rejected):
        members = {**ask, **({"min_ttl": min_ttl} if min_ttl else {}), **({"rejected": rejected} if rejected else {})}
        now = self._now()
        token = Token(self._post(kept, client, json.dumps(members).encode()), now, min_ttl)
        if token.fingerprint == rejected:
            token.reported = now
        kept.token, kept.error, kept.failures, kept.retry_at = token, None, 0, float("-inf")
        return token

    def _post(self, kept, client, body):
        """Returns the answer of the first URL that works."""
        if not re.fullmatch("[a-z0-9-]{1,63}", client):
            raise VendorError("the client's name is not valid", 400, "invalid_request")
        with self._lock:
            # When the minute is over, one call tries the first URL again, and the others wait for its result.
            probe = self._current != 0 and self._now() >= self._until
            first = 0 if probe else self._current
            if probe:
                self._until = self._now() + STICKY
        worst = None
        for i in range(len(self._urls)):
            at = (first + i) % len(self._urls)
            try:
                answer = self._try(kept, at, client, body)
            except VendorError as error:
                if not error.outage:
                    raise
                worst = _worse(worst, error)
                continue
            with self._lock:
                if i > 0 and at != self._current:
                    self._current, self._until = at, self._now() + STICKY
                elif probe and at == 0:
                    self._current = 0
            return answer
        raise worst

    def _try(self, kept, at, client, body):
        """Asks one URL, unless that has said that it must not be asked for the same now."""
        until, error = kept.pauses.get(at, (float("-inf"), None))
        if self._now() < until:
            raise VendorError(error.description, error.status, error.code, until - self._now(), error.request_id)
        try:
            return self._call(at, f"{self._urls[at]}/{client}", body)
        except VendorError as error:
            if error.status == 503 and error.retry_after:
                kept.pauses[at] = (self._now() + error.retry_after, error)
            raise

    def _call(self, at, url, body):
        host = HOST.search(url)
        service = "lambda" if host and host[1] == "lambda-url" else "execute-api"
        request = AWSRequest("POST", url, data=body, headers={"Content-Type": "application/json"})
        try:
            credentials = self._session.get_credentials().get_frozen_credentials()
            SigV4Auth(credentials, service, host[2] if host else self._region).add_auth(request)
        except Exception:  # many kinds, some with ARNs
            raise VendorError("there are no AWS credentials to sign the request with", code="no_credentials") from None
        try:
            response = self._http[at].send(request.prepare())
            answer = json.loads(response.content)
        except BotoCoreError:
            raise VendorError("the vendor cannot be reached", code="temporarily_unavailable", retry_after=1) from None
        except ValueError:
            answer = None
        answer = answer if isinstance(answer, dict) else {}
        if response.status_code == 200 and isinstance(answer.get("access_token"), str):
            return answer
        code = answer.get("error") if answer.get("error") in CODES else ""
        wait, request_id = response.headers.get("Retry-After", ""), response.headers.get("x-amzn-requestid", "")
        raise VendorError(
            code and answer.get("error_description") or "AWS or a proxy answered without the vendor", response.status_code,
            code, min(int(wait), 3600) if wait.isdecimal() else 0, answer.get("request_id") or request_id)


def _worse(a, b):
    """The error that says more of two outages: that of the vendor, rather than that of a proxy or of a connection."""
    if a is None:
        return b
    one, other = (b, a) if a.status == 0 and b.status != 0 or not a.code and b.code and b.status != 0 else (a, b)
    return VendorError(one.description, one.status, one.code, min(one.retry_after, other.retry_after), one.request_id)


class RequestsAuth:
    """Authentication for requests. After a 401 the token is reported, and the request is sent once more if its body can
    be read again."""

    def __init__(self, vendor, client, **ask):
        self._vendor, self._client, self._ask = vendor, client, ask

    def __call__(self, request):
        token = self._vendor.token(self._client, **self._ask)
        request.headers["Authorization"] = token.header

        def again(response, **options):
            # A request that followed a redirect has lost the header, or is not ours to answer.
            if response.status_code != 401 or response.request.headers.get("Authorization") != token.header:
                return response
            try:
                fresh = self._vendor.replace(self._client, token, **self._ask)
            except VendorError:
                return response  # the API's answer says more
            if fresh.fingerprint == token.fingerprint or not isinstance(request.body, (str, bytes, type(None))):
                return response
            response.content  # so that the connection can be used again
            response.close()
            second = response.request.copy()
            second.headers["Authorization"] = fresh.header
            result = response.connection.send(second, **options)
            result.history.append(response)
            result.request = second
            return result

        request.register_hook("response", again)
        return request


class HTTPXAuth(httpx.Auth if httpx else object):
    """Authentication for httpx, also for its AsyncClient; otherwise as RequestsAuth."""

    def __init__(self, vendor, client, **ask):
        self._vendor, self._client, self._ask = vendor, client, ask

    def sync_auth_flow(self, request):
        token = self._vendor.token(self._client, **self._ask)
        request.headers["Authorization"] = token.header
        response = yield request
        if self._refused(response, request) and self._replaced(request, token):
            yield request

    async def async_auth_flow(self, request):
        loop = asyncio.get_running_loop()
        token = await loop.run_in_executor(_threads, lambda: self._vendor.token(self._client, **self._ask))
        request.headers["Authorization"] = token.header
        response = yield request
        if self._refused(response, request) and await loop.run_in_executor(_threads, self._replaced, request, token):
            yield request

    @staticmethod
    def _refused(response, request):
        """Whether the API refused the token. After a redirect, the first request must not be sent once more."""
        return response.status_code == 401 and response.request is request

    def _replaced(self, request, token):
        """Whether the request has another token, and can be sent again."""
        try:
            fresh = self._vendor.replace(self._client, token, **self._ask)
        except VendorError:
            return False  # the API's answer says more
        request.headers["Authorization"] = fresh.header
        return fresh.fingerprint != token.fingerprint and isinstance(request.stream, httpx.ByteStream)
