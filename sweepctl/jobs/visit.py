"""The page of a sweep, wherever the sweep is: `sweepctl open`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Event

from sweepctl.jobs.submission import open_submission_api, sweep_name
from sweepctl.jobs.targets import Target, is_in_cluster, open_target
from sweepctl.server.server_process import default_data
from sweepctl.sweeps.api import WandbApi
from sweepctl.sweeps.names import parse_sweep_name
from sweepctl.sweeps.page import Page, page_at, page_of_data
from sweepctl.sweeps.place import Place, server_of


@contextmanager
def open_page(
    name: str | None,
    place: Place,
    *,
    listen: str,
    allowed_hosts: Sequence[str],
    say: Callable[[str], None],
) -> Iterator[Page]:
    """Give the page of a sweep, served for as long as the block runs where nobody else does."""
    if is_in_cluster(name, place):
        with _in_cluster(open_target(name, place), say) as page:
            yield page
        return
    wanted = parse_sweep_name(name)
    server = server_of(place, wanted)
    if server is not None:
        yield page_at(WandbApi(server, on_wait=say), wanted)
        return
    data = (place.data or default_data()).absolute()
    with page_of_data(data, wanted, listen, allowed_hosts, say) as page:
        yield page


@contextmanager
def _in_cluster(target: Target, say: Callable[[str], None]) -> Iterator[Page]:
    submission = target.submission()
    with open_submission_api(target.cluster, submission, say) as api:
        page = page_at(api, sweep_name(submission, api))
        if api.base_url == (submission.api_url or "").rstrip("/"):
            yield page
            return
        notes = [f"through a port-forward to {api.where}"]
        secret = submission.secret_key
        if secret is not None:
            notes.append(
                "it asks for a user (any) and a password, the API key: kubectl get secret"
                f" {secret.name} -n {submission.namespace}"
                f" -o go-template='{{{{index .data \"{secret.key}\" | base64decode}}}}'"
            )
        yield replace(page, notes=tuple(notes), await_end=_forever)


def _forever() -> None:
    Event().wait()
