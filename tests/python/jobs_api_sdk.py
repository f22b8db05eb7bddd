"""Drives the stand-in of the Jobs API (`heartbeat jobs-api`) with the official Python SDK.

    python jobs_api_sdk.py http://127.0.0.1:PORT

Needs the PyPI package databricks-sdk and a stand-in without a jobs file (any token, any job) and without runs
of the jobs 910 to 913. Exits 0 if everything is as the SDK expects it.
"""

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

from databricks.sdk import WorkspaceClient  # noqa: E402
from databricks.sdk import errors  # noqa: E402
from databricks.sdk.core import Config  # noqa: E402
from databricks.sdk.service import jobs  # noqa: E402


def post(base: str, path: str, body: object, method: str = "POST") -> None:
    request = urllib.request.Request(base + path, json.dumps(body).encode(), method=method)
    urllib.request.urlopen(request, timeout=10).read()


def raises(kind: type, call, text: str = "") -> None:
    try:
        call()
    except kind as error:
        assert text in str(error), f"{error!r} says nothing of {text!r}"
        return
    raise AssertionError(f"{kind.__name__} was not raised")


def main(base: str) -> None:
    config = Config(host=base, token="any", http_timeout_seconds=5, retry_timeout_seconds=30)
    api = WorkspaceClient(config=config).jobs

    def fault(kind: object, on: str = "run-now", times: int = 1) -> None:
        post(base, "/stand-in/faults", {"on": on, "times": times, "kind": kind})

    # run_now: parameters, the wait for the end, and one run per token.
    first = api.run_now(910, idempotency_token="t1", notebook_params={"msg": "hi"})
    run = first.result()
    assert run.run_id == first.run_id and run.job_id == 910
    assert run.state.result_state == jobs.RunResultState.SUCCESS
    assert run.status.state == jobs.RunLifecycleStateV2State.TERMINATED
    assert run.status.termination_details.code == jobs.TerminationCodeCode.SUCCESS
    assert run.overriding_parameters.notebook_params == {"msg": "hi"}
    assert run.trigger == jobs.TriggerType.ONE_TIME and run.run_type == jobs.RunType.JOB_RUN
    assert run.end_time >= run.start_time > 1_600_000_000_000
    assert api.run_now(910, idempotency_token="t1").run_id == first.run_id
    assert api.run_now(910, idempotency_token="t2").run_id != first.run_id
    raises(errors.InvalidParameterValue, lambda: api.run_now(910, idempotency_token="x" * 65), "64")

    # The SDK repeats a lost call by itself: with a token that is one run.
    for number, kind in enumerate(["drop_after", "drop_before", {"status": {"code": 429, "headers": {"Retry-After": "0"}}},
                                   {"status": {"code": 503}}]):
        fault(kind)
        api.run_now(911, idempotency_token=f"lost-{number}")
    assert len(list(api.list_runs(job_id=911))) == 4

    # Error classes.
    cases = [(400, errors.InvalidParameterValue), (403, errors.PermissionDenied), (404, errors.NotFound),
             (500, errors.InternalError), (501, errors.NotImplemented), (504, errors.DeadlineExceeded)]
    for code, kind in cases:
        fault({"status": {"code": code}})
        raises(kind, lambda: api.run_now(912))
    fault({"status": {"code": 401, "body": {"error_code": 401, "message": "Credential was not sent"}}})
    raises(errors.Unauthenticated, lambda: api.run_now(912), "Credential was not sent")
    fault({"status": {"code": 403, "body": {"error_code": 403, "message": "Invalid access token."}}})
    raises(errors.PermissionDenied, lambda: api.run_now(912), "Invalid access token.")
    fault("html")
    raises(Exception, lambda: api.run_now(912))
    fault("redirect")
    raises(Exception, lambda: api.run_now(912))
    assert list(api.list_runs(job_id=912)) == []

    # get_run, cancel, delete.
    raises(errors.ResourceDoesNotExist, lambda: api.get_run(1))
    done = api.run_now(913, idempotency_token="gone").result()
    api.cancel_run(done.run_id)
    api.delete_run(done.run_id)
    raises(errors.ResourceDoesNotExist, lambda: api.get_run(done.run_id))
    raises(errors.InvalidParameterValue, lambda: api.run_now(913, idempotency_token="gone"), "deleted")

    # list_runs: pages, order, filters.
    made = [api.run_now(913, idempotency_token=f"page-{number}").run_id for number in range(60)]
    listed = [run.run_id for run in api.list_runs(job_id=913, limit=25)]
    assert listed == sorted(made, reverse=True), "newest first, each once"
    assert list(api.list_runs(job_id=913, active_only=True)) == []
    assert len(list(api.list_runs(job_id=913, completed_only=True))) == 60
    soon = int(time.time() * 1000) + 3_600_000
    assert list(api.list_runs(job_id=913, start_time_from=soon)) == []
    assert len(list(api.list_runs(job_id=913, start_time_to=soon))) == 60
    raises(errors.InvalidParameterValue, lambda: list(api.list_runs(active_only=True, completed_only=True)))
    print("databricks-sdk and the stand-in agree")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1].rstrip("/"))
