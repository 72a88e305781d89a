"""Complete lists of the server's items, which it returns in pages."""

import json
from typing import Any, Callable, Iterator

import kfp

# States in which a run has ended.
FINISHED = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")

# The server's maximum is 200.
_PAGE_SIZE = 100


def list_all(call: Callable[..., Any], field: str, **arguments: Any) -> Iterator[Any]:
    """Yields all items of a `list_...` method of `kfp.Client`, requesting each page when it is needed.

    Args:
      call: the method.
      field: field of its response with the items.
      **arguments: arguments of the method.
    """
    token = ""
    while True:
        response = call(page_token=token, page_size=_PAGE_SIZE, **arguments)
        yield from getattr(response, field) or ()
        token = response.next_page_token
        if not token:
            return


def name_filter(name: str) -> str:
    """Returns the filter that selects items by their display name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def list_runs(client: kfp.Client, experiment_id: str) -> Iterator[Any]:
    """Yields the runs of an experiment, newest first."""
    return list_all(client.list_runs, "runs", experiment_id=experiment_id, sort_by="created_at desc")
