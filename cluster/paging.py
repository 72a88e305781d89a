"""Lists of the server, complete: it answers in pages."""

import json
from typing import Any, Callable, Iterator

import kfp

# The most that a server puts into one answer is 200.
_PAGE_SIZE = 100


def list_all(call: Callable[..., Any], field: str, **arguments: Any) -> Iterator[Any]:
    """Yields all items of a `list_...` method of `kfp.Client`, requesting the next page when it is needed.

    Args:
      call: the method.
      field: of its answer, with the items.
      **arguments: of the method.
    """
    token = ""
    while True:
        answer = call(page_token=token, page_size=_PAGE_SIZE, **arguments)
        yield from getattr(answer, field) or ()
        token = answer.next_page_token
        if not token:
            return


def name_filter(name: str) -> str:
    """Returns the filter for items with a display name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def list_runs(client: kfp.Client, experiment_id: str) -> Iterator[Any]:
    """Yields the runs of an experiment, the newest first."""
    return list_all(client.list_runs, "runs", experiment_id=experiment_id, sort_by="created_at desc")
