"""Drives the stand-in of a workspace with the official Python SDK, as a service principal.

    python workspace_sdk.py http://127.0.0.1:PORT

Needs the PyPI package databricks-sdk and the jobs file of `tests/it/jobs/sdk.rs`. Exits 0 if everything is as the SDK
expects it.
"""

import base64
import json
import os
import sys
import time
import urllib.request

# Set before the import: nothing of the machine's own configuration may leak in.
for name in [name for name in os.environ if name.startswith(("DATABRICKS_", "ARM_"))]:
    del os.environ[name]
os.environ["DATABRICKS_CONFIG_FILE"] = os.devnull + "/none"
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"

from databricks.sdk import WorkspaceClient, errors  # noqa: E402
from databricks.sdk.core import Config  # noqa: E402
from databricks.sdk.service import jobs  # noqa: E402


def call(base: str, method: str, path: str, body: object = None) -> dict:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base + path, data, method=method)
    return json.loads(urllib.request.urlopen(request, timeout=10).read())


def raises(kind: type, act, text: str = "") -> None:
    try:
        act()
    except kind as error:
        assert text in str(error), f"{error!r} says nothing of {text!r}"
        return
    raise AssertionError(f"{kind.__name__} was not raised")


def client(base: str, **auth: str) -> WorkspaceClient:
    return WorkspaceClient(config=Config(host=base, http_timeout_seconds=5, retry_timeout_seconds=30, **auth))


def main(base: str) -> None:
    def finish(run_id: int, result: str) -> None:
        call(base, "POST", f"/stand-in/runs/{run_id}/finish", {"result": result})

    def fault(on: str, kind: object, times: int = 1) -> None:
        call(base, "POST", "/stand-in/faults", {"on": on, "times": times, "kind": kind})

    # OAuth: the endpoints are found, the token is had and used.
    workspace = client(base, client_id="my-client", client_secret="my-secret")
    assert workspace.config.auth_type == "oauth-m2m"
    assert workspace.config.discovery_url == f"{base}/oidc/.well-known/oauth-authorization-server"
    token = workspace.config.oauth_token()
    assert token.token_type == "Bearer" and token.valid
    api = workspace.jobs
    raises(ValueError, lambda: client(base, client_id="my-client", client_secret="no").jobs.get_run(1), "invalid_client")
    raises(errors.PermissionDenied, lambda: client(base, token="no").jobs.get_run(1), "Invalid access token")

    # At its limit a job skips or queues.
    first = api.run_now(1).run_id
    skipped = api.get_run(api.run_now(1).run_id)
    assert skipped.state.life_cycle_state == jobs.RunLifeCycleState.SKIPPED
    assert skipped.state.result_state == jobs.RunResultState.MAXIMUM_CONCURRENT_RUNS_REACHED
    assert skipped.status.termination_details.code == jobs.TerminationCodeCode.MAX_CONCURRENT_RUNS_EXCEEDED
    running, queued, full = [api.run_now(2).run_id for _ in range(3)]
    run = api.get_run(queued)
    assert run.state.life_cycle_state == jobs.RunLifeCycleState.QUEUED
    assert run.status.queue_details.code == jobs.QueueDetailsCodeCode.MAX_CONCURRENT_RUNS_REACHED
    full = api.get_run(full)
    assert full.state.life_cycle_state == jobs.RunLifeCycleState.SKIPPED and full.state.result_state is None
    assert full.status.termination_details.code == jobs.TerminationCodeCode.MAX_JOB_QUEUE_SIZE_EXCEEDED
    bare = api.get_run(api.run_now(3).run_id)
    assert bare.state.life_cycle_state == jobs.RunLifeCycleState.SKIPPED and bare.state.result_state is None

    # Only what is active, until it is cancelled; what is active can't be deleted.
    assert {run.run_id for run in api.list_runs(active_only=True)} == {first, running, queued}
    raises(errors.BadRequest, lambda: api.delete_run(running), "active")
    raises(errors.BadRequest, lambda: api.cancel_run(1), "does not exist")
    cancelled = api.cancel_run(running).result()
    assert cancelled.state.result_state == jobs.RunResultState.CANCELED and cancelled.state.user_cancelled_or_timedout
    assert cancelled.status.termination_details.code == jobs.TerminationCodeCode.USER_CANCELED
    assert api.get_run(queued).state.life_cycle_state == jobs.RunLifeCycleState.RUNNING
    api.delete_run(running)
    raises(errors.ResourceDoesNotExist, lambda: api.get_run(running))

    # Every end there is, under one run id after the other.
    ends = [
        ("FAILED", jobs.RunLifeCycleState.INTERNAL_ERROR, jobs.RunResultState.FAILED),
        ("TERMINATED_FAILED", jobs.RunLifeCycleState.TERMINATED, jobs.RunResultState.FAILED),
        ("TIMEDOUT", jobs.RunLifeCycleState.TERMINATED, jobs.RunResultState.TIMEDOUT),
        ("CANCELED", jobs.RunLifeCycleState.TERMINATED, jobs.RunResultState.CANCELED),
        ("INTERNAL_ERROR", jobs.RunLifeCycleState.INTERNAL_ERROR, None),
        ("SKIPPED", jobs.RunLifeCycleState.SKIPPED, jobs.RunResultState.MAXIMUM_CONCURRENT_RUNS_REACHED),
        ("UNKNOWN", None, None),
        ("SUCCESS", jobs.RunLifeCycleState.TERMINATED, jobs.RunResultState.SUCCESS),
    ]
    for result, life, state in ends:
        finish(first, result)
        run = api.get_run(first)
        assert (run.state.life_cycle_state, run.state.result_state) == (life, state), (result, run.state)
        assert run.end_time > 0
        if result != "SUCCESS":
            call(base, "POST", f"/stand-in/runs/{first}/repair", {})
            assert api.get_run(first).state.life_cycle_state == jobs.RunLifeCycleState.RUNNING

    # A failed run is repaired under its id; parameters have defaults.
    started = api.run_now(4, job_parameters={"day": "2026-11-21"}).run_id
    assert api.get_run(started).state.result_state == jobs.RunResultState.FAILED
    assert api.repair_run(started, rerun_all_failed_tasks=True).response.repair_id
    run = api.get_run(started)
    assert run.state.result_state == jobs.RunResultState.SUCCESS
    assert [(one.name, one.default, one.value) for one in run.job_parameters] == [("day", "today", "2026-11-21")]
    raises(errors.BadRequest, lambda: api.repair_run(started, rerun_all_failed_tasks=True), "nothing to repair")
    raises(errors.InvalidParameterValue, lambda: api.run_now(4, job_parameters={"a": "b"}, notebook_params={"a": "b"}))

    # Pages: forth, back, and by offset.
    made = sorted((api.run_now(5, idempotency_token=f"page-{number}").run_id for number in range(55)), reverse=True)
    assert [run.run_id for run in api.list_runs(job_id=5, limit=20, completed_only=True)] == made
    def page(version: str, more: str) -> dict:
        return workspace.api_client.do("GET", f"/api/{version}/jobs/runs/list?job_id=5&limit=20{more}")
    one = page("2.2", "")
    assert "has_more" not in one and "prev_page_token" not in one
    two = page("2.2", "&page_token=" + one["next_page_token"])
    assert page("2.2", "&page_token=" + two["prev_page_token"])["runs"] == one["runs"]
    assert page("2.1", "&offset=20")["runs"] == two["runs"] and page("2.1", "")["has_more"] is True
    assert "tasks" not in one["runs"][0] and page("2.1", "&expand_tasks=true")["runs"][0]["tasks"]
    assert list(api.list_runs(job_id=5, run_type=jobs.RunType.SUBMIT_RUN)) == []
    now = int(time.time() * 1000)
    assert list(api.list_runs(job_id=5, start_time_from=now + 3_600_000)) == []

    # Secrets.
    secrets = workspace.secrets
    value = secrets.get_secret("my-scope", "my-key")
    assert value.key == "my-key" and base64.b64decode(value.value).decode() == "välue"
    assert [one.key for one in secrets.list_secrets("my-scope")] == ["my-key", "other"]
    assert list(secrets.list_secrets("empty")) == []
    assert [one.name for one in secrets.list_scopes()] == ["empty", "my-scope"]
    secrets.put_secret("empty", "new", bytes_value=base64.b64encode(b"\xff").decode())
    assert workspace.dbutils.secrets.getBytes("empty", "new") == b"\xff"
    raises(errors.ResourceDoesNotExist, lambda: secrets.get_secret("my-scope", "none"))
    raises(errors.ResourceDoesNotExist, lambda: secrets.get_secret("none", "my-key"))

    # A storm is sat out; a 404 of another API is told.
    fault("any", {"status": {"code": 429, "headers": {"Retry-After": "0"}}}, times=5)
    assert api.get_run(first).run_id == first
    fault("runs-get", {"status": {"code": 404, "body": "Bad Target: /api/2.2/jobs/runs/get"}})
    raises(errors.NotFound, lambda: api.get_run(first), "Bad Target")

    # A token that has run out.
    call(base, "DELETE", "/stand-in/tokens")
    raises(errors.Unauthenticated, lambda: api.get_run(first), "expired")
    again = client(base, client_id="my-client", client_secret="my-secret")
    assert again.jobs.get_run(first).run_id == first
    print("databricks-sdk and the stand-in agree")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1].rstrip("/"))
