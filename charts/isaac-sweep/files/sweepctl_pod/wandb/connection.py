"""Where W&B's API is, the key that opens it, one HTTP call to it, and what its failures mean.

It uses urllib, which reads proxy variables and SSL_CERT_FILE. A call is one attempt; the caller
decides whether to try again, and `ApiError` says what kind of trouble it was. The key is in no
error and no repr; nothing is printed, except one warning when certificates are not checked.
"""

from __future__ import annotations

import base64
import configparser
import http.client
import json
import netrc
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.wandb.api_clock import ApiClock, read_http_date

DEFAULT_BASE_URL = "https://api.wandb.ai"
_TRUE = ("y", "yes", "t", "true", "on", "1")
_CA_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)


_UNKNOWN_ISSUER = (18, 19, 20, 21)
"""OpenSSL's X509_V_ERR_* of certificates that nothing trusted stands behind."""


class ApiError(SweepctlError):
    """The API refused, failed or could not be reached; `status` is None when nothing answered."""

    def __init__(
        self,
        message: str,
        hint: str | None = None,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        is_the_apis: bool = False,
    ) -> None:
        super().__init__(message, hint)
        self.is_the_apis = is_the_apis
        """Whether the API itself says so, in its own form; proxies answer 404 and 403 as well."""
        self.status = status
        self.retry_after_s = retry_after_s

    @property
    def is_transient(self) -> bool:
        """Whether the same call may succeed later with nothing changed by anybody."""
        return self.status is None or self.status in (408, 425, 429) or self.status >= 500

    @property
    def is_rate_limit(self) -> bool:
        """Whether the API asks for fewer calls."""
        return self.status == 429

    @property
    def is_refused(self) -> bool:
        """Whether the key is missing, wrong, or not allowed to do this."""
        return self.status in (401, 403)

    @property
    def is_missing(self) -> bool:
        """Whether the thing asked for does not exist (or is hidden from this key)."""
        return self.status == 404


class CertificateError(ApiError):
    """The server's certificate is not trusted: waiting does not help, a person must correct it."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the API is and the key that opens it."""

    base_url: str
    api_key: str | None = field(default=None, repr=False)
    entity: str | None = None
    checks_certificate: bool = True
    name: str | None = None
    """The API's name for people, where sweepctl chose its address itself."""


def connection_from_environ(environ: Mapping[str, str], home: Path) -> Connection:
    """Find address, key and entity where the wandb client does: environment, settings, netrc."""
    settings = _read_settings(environ, home)
    base_url = environ.get("WANDB_BASE_URL") or settings.get("base_url") or DEFAULT_BASE_URL
    base_url = base_url.strip().rstrip("/")
    parts = urllib.parse.urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise SweepctlError(
            f"the address of the W&B API is no plain http(s) URL: {_without_userinfo(base_url)!r}",
            "set WANDB_BASE_URL to something like https://api.wandb.ai",
        )
    api_key = environ.get("WANDB_API_KEY", "").strip() or _key_from_netrc(environ, home, base_url)
    entity = environ.get("WANDB_ENTITY") or settings.get("entity")
    # The words that the wandb client takes for true.
    is_unchecked = environ.get("WANDB_INSECURE_DISABLE_SSL", "").lower() in _TRUE
    return Connection(base_url, api_key or None, entity or None, not is_unchecked)


def how_to_log_in(base_url: str, environ: Mapping[str, str] | None = None) -> str:
    """Say how to give a key for a server: by programs that are there."""
    environ = os.environ if environ is None else environ
    if "SWEEPCTL_JOB_UID" in environ:
        return "check the Secret that the setting wandb.secretName names"
    host = "" if base_url == DEFAULT_BASE_URL else f" --host {base_url}"
    for program, command in (("wandb", "wandb login"), ("uvx", "uvx wandb login")):
        if shutil.which(program, path=environ.get("PATH")):
            return f"set WANDB_API_KEY, or run `{command}{host}`"
    machine = urllib.parse.urlsplit(base_url).hostname
    return f"set WANDB_API_KEY, or write `machine {machine} login user password KEY` into ~/.netrc"


def app_url(base_url: str) -> str:
    """Give the address of the pages for people that belong to an API address."""
    base_url = base_url.rstrip("/")
    host = urllib.parse.urlsplit(base_url).hostname or ""
    if host == "api.wandb.ai":
        return "https://wandb.ai"
    if host == "api.forge.coreweave.com":
        return "https://forge.coreweave.com/wandb"
    if host.startswith("api.wandb."):
        return base_url.replace("://api.", "://", 1)
    if host.startswith("api."):
        return base_url.replace("://api.", "://app.", 1)
    return base_url


def sweep_url(base_url: str, entity: str, project: str, sweep_id: str) -> str:
    """Give the address of a sweep's page."""
    return f"{app_url(base_url)}/{url_path(entity, project, 'sweeps', sweep_id)}"


def run_url(base_url: str, entity: str, project: str, run_id: str) -> str:
    """Give the address of a run's page."""
    return f"{app_url(base_url)}/{url_path(entity, project, 'runs', run_id)}"


def url_path(*parts: str) -> str:
    """Join names to the path of a URL, each one quoted whole."""
    return "/".join(urllib.parse.quote(part, safe="") for part in parts)


class Transport:
    """HTTP calls over one connection; safe to use from several threads at once."""

    def __init__(self, connection: Connection, *, timeout_s: float = 30) -> None:
        self.connection = connection
        self.timeout_s = timeout_s
        self._opener = _make_opener(connection)
        self._clock = ApiClock()

    def now(self) -> float:
        """Give the seconds since 1970 as the API has them."""
        return self._clock.now()

    @property
    def where(self) -> str:
        """The API as it may be shown: by its name, else by its address."""
        return self.connection.name or _without_userinfo(self.connection.base_url)

    def graphql(
        self,
        query: str,
        variables: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Send one GraphQL operation and give its `data`."""
        body = json.dumps({"query": query, "variables": dict(variables)}).encode()
        answer = self.json("POST", f"{self.connection.base_url}/graphql", body, headers)
        errors = answer.get("errors") if isinstance(answer, dict) else None
        if errors:
            raise _graphql_error(errors, status=200)
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, dict):
            raise ApiError(f"the answer of {self.where} has no data", status=502)
        return data

    def within(self, answer: Any, *keys: str) -> dict[str, Any]:
        """Give the map at the end of a path through an answer; empty where the API has nothing.

        ApiError where there is something that is no map: another program answered, or a server in
        trouble. Such a call may be tried again.
        """
        found = answer
        for key in keys:
            found = found.get(key)
            if found is None:
                return {}
            if not isinstance(found, dict):
                raise self.unexpected(f"{found!r:.80} for {key}")
        return dict(found)

    def unexpected(self, what: str) -> ApiError:
        """Give the error of an answer that has another shape than the API's."""
        return ApiError(f"{self.where} answered {what}", status=502)

    def json(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Send a JSON body and give the JSON that answers it."""
        headers = {"Content-Type": "application/json", **(headers or {})}
        with self.open(self.request(method, url, body, headers)) as answer:
            try:
                return json.loads(answer.read() or b"{}")
            except (ValueError, RecursionError) as error:
                raise ApiError(
                    f"the answer of {self.where} is no JSON",
                    self._hint(
                        "is WANDB_BASE_URL the API's address, not that of a page or a proxy?"
                    ),
                    status=502,
                ) from error
            except (http.client.HTTPException, OSError) as error:
                raise ApiError(f"the answer of {self.where} broke off: {error}") from error

    def request(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> urllib.request.Request:
        """Make a request, with the key only when it goes to the API itself."""
        if not url.startswith(("http://", "https://")):
            raise ApiError(f"{self.where} names an address that is no http(s) URL: {url[:100]!r}")
        request = _Request(url, data=body, method=method, headers=dict(headers or {}))
        request.add_header("User-Agent", "sweepctl")
        key = self.connection.api_key
        if key and _origin(url) == _origin(self.connection.base_url):
            token = base64.b64encode(f"api:{key}".encode()).decode()
            # Never repeated to the host that a redirect names: file downloads end at object stores.
            request.add_unredirected_header("Authorization", f"Basic {token}")
        return request

    def open(self, request: urllib.request.Request) -> Any:
        """Send a request and give the open answer; any other status than 2xx is an ApiError."""
        asked_at = time.monotonic()
        try:
            answer = self._opener.open(request, timeout=self.timeout_s)
            if _origin(answer.url) == _origin(self.connection.base_url):  # no store of files
                self._clock.hear(answer.headers.get("Date"), time.monotonic() - asked_at)
            return answer
        except urllib.error.HTTPError as error:
            failure = _http_error(error, self.where, self.connection.base_url)
            failure.hint = failure.hint and self._hint(failure.hint)
            raise failure from None
        except urllib.error.URLError as error:
            message = f"cannot reach {self.where}: {_reason(error.reason)}"
            if hint := _certificate_hint(error.reason):
                raise CertificateError(message, hint) from None
            hint = self._hint("check WANDB_BASE_URL, proxy settings and the network")
            raise ApiError(message, hint) from None
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            # A host that is no name, such as a..b: in the setting, or where a redirect leads.
            raise ApiError(f"cannot reach {self.where}: {_reason(error)}") from None

    def _hint(self, text: str) -> str | None:
        """Give a hint about settings, which say nothing of a server that sweepctl found itself."""
        return None if self.connection.name else text


class _Request(urllib.request.Request):
    """A request whose content type is what it was given, or none."""

    def has_header(self, header_name: str) -> bool:
        """Keep urllib from calling any other body a web form: a signature may speak of the type."""
        return header_name == "Content-type" or super().has_header(header_name)


def _make_opener(connection: Connection) -> urllib.request.OpenerDirector:
    handlers: list[urllib.request.BaseHandler] = []
    host = urllib.parse.urlsplit(connection.base_url).hostname or ""
    if host == "localhost" or host == "::1" or host.startswith("127."):
        # A proxy cannot reach this machine's loopback; wandb-core skips it as well.
        handlers.append(urllib.request.ProxyHandler({}))
    if connection.base_url.startswith("https:") or not connection.checks_certificate:
        import ssl

        paths = ssl.get_default_verify_paths()
        context = ssl.create_default_context()
        if not connection.checks_certificate:
            _warn_unchecked()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif not (paths.cafile or paths.capath):
            # Python builds inside simulators know no certificates; the system's are right.
            bundle = next((path for path in _CA_BUNDLES if os.path.isfile(path)), None)
            if bundle:
                context.load_verify_locations(bundle)
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers)


@lru_cache(maxsize=1)
def _warn_unchecked() -> None:
    import logging

    logging.getLogger("sweepctl").warning(
        "warning: WANDB_INSECURE_DISABLE_SSL is set: nobody checks that the server is the right one"
    )


def _certificate_hint(reason: object) -> str | None:
    """Say what to do where a server's certificate is not trusted here."""
    import ssl

    if not isinstance(reason, ssl.SSLCertVerificationError):
        return None
    if reason.verify_code not in _UNKNOWN_ISSUER:
        return "check WANDB_BASE_URL, the server's certificate and the clock here"
    file = os.environ.get("SSL_CERT_FILE")
    if file and not os.path.isfile(file):
        return f"SSL_CERT_FILE names {file}, and there is no such file"
    return (
        "name a file with the certificate of its CA in SSL_CERT_FILE (for pods: the setting"
        " caBundle), or do not check it: WANDB_INSECURE_DISABLE_SSL=true"
    )


def _http_error(error: urllib.error.HTTPError, where: str, base_url: str) -> ApiError:
    times = [error.headers.get(name) if error.headers else None for name in ("Retry-After", "Date")]
    retry_after_s = _retry_after_s(*times)
    try:
        text = error.read(100_000).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        text = ""
    finally:
        error.close()
    said = _said(text)
    hints = {
        401: how_to_log_in(base_url),
        403: "this key may not do that: check WANDB_API_KEY and WANDB_ENTITY",
        404: "check WANDB_BASE_URL, and the entity, project and id",
    }
    return ApiError(
        f"{where} answered {error.code}" + (f": {said}" if said else ""),
        hints.get(error.code),
        status=error.code,
        retry_after_s=retry_after_s,
        is_the_apis='"errors"' in text,
    )


def _graphql_error(errors: Any, status: int) -> ApiError:
    messages = [
        str(error.get("message") if isinstance(error, dict) else error)
        for error in (errors if isinstance(errors, list) else [errors])
    ]
    for error in errors if isinstance(errors, list) else []:
        extensions = error.get("extensions") if isinstance(error, dict) else None
        code = extensions.get("code") if isinstance(extensions, dict) else None
        if isinstance(code, int) and 400 <= code < 600:
            status = code
    said = "; ".join(messages)[:500]
    return ApiError(f"the API refused: {said}", status=status, is_the_apis=True)


def _said(text: str) -> str:
    """Give the reason in an error's body, in one short line; none for a page of HTML."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return "" if "<" in text else " ".join(text.split())[:300]
    if not isinstance(body, dict):
        return str(body)[:300]
    errors = body.get("errors")
    if isinstance(errors, list) and errors:
        return "; ".join(
            str(error.get("message") if isinstance(error, dict) else error) for error in errors
        )[:500]
    return str(body.get("error") or body.get("message") or "")[:300]


def _retry_after_s(value: str | None, sent: str | None) -> float | None:
    """Read Retry-After: seconds, or a date (RFC 9110 §10.2.3) by the clock of who sent it."""
    try:
        return max(0.0, float(value or ""))
    except ValueError:
        until, now = read_http_date(value), read_http_date(sent)
        return None if until is None else max(0.0, until - (time.time() if now is None else now))


def _read_settings(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    folder = environ.get("WANDB_CONFIG_DIR")
    path = (Path(folder) if folder else home / ".config" / "wandb") / "settings"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path, encoding="utf-8")
        return dict(parser["default"]) if parser.has_section("default") else {}
    except (configparser.Error, OSError, UnicodeDecodeError):
        # The wandb client takes an unreadable settings file for an empty one.
        return {}


def _key_from_netrc(environ: Mapping[str, str], home: Path, base_url: str) -> str | None:
    named = environ.get("NETRC")
    paths = [Path(named).expanduser()] if named else [home / ".netrc", home / "_netrc"]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        return None
    try:
        entries = netrc.netrc(str(path))
    except (netrc.NetrcParseError, OSError, UnicodeDecodeError):
        return None
    parts = urllib.parse.urlsplit(base_url)
    for host in (parts.netloc, parts.hostname or ""):
        found = entries.authenticators(host)
        if found and found[2]:
            return found[2].strip()
    return None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _without_userinfo(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _reason(reason: object) -> str:
    if verify_message := getattr(reason, "verify_message", None):
        return f"its certificate is not trusted: {verify_message}"
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror.lower()
    return str(reason) or type(reason).__name__
