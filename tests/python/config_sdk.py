"""Tells how the official Python SDK chooses credentials.

    python config_sdk.py CASES

CASES is a JSON file: [[{"DATABRICKS_TOKEN": "t"}, "[DEFAULT]\\n..."], ...]. Each case is an environment and the text of
the configuration file. Prints a JSON array with what was chosen, or why nothing was. Needs the PyPI package
databricks-sdk; touches no network.
"""

import json
import os
import re
import sys
import tempfile

# Nothing of the machine's own configuration and tools may leak in.
for name in [name for name in os.environ if name.startswith(("DATABRICKS_", "ARM_", "GOOGLE_", "ACTIONS_"))]:
    del os.environ[name]
folder = tempfile.TemporaryDirectory()
os.environ["HOME"] = os.environ["PATH"] = folder.name

from databricks.sdk import config  # noqa: E402
from databricks.sdk.oauth import OidcEndpoints  # noqa: E402

config.Config._resolve_host_metadata = config.Config.load_azure_tenant_id = lambda self: None
config.get_endpoints_from_url = lambda url: OidcEndpoints("https://none.invalid/a", "https://none.invalid/t")

ERRORS = [
    (r"more than one authorization method configured: ([^.]*)", "several: "),
    (r"has no (\S+) profile configured", "no profile: "),
    (r"(?:)()__settings__ is a reserved section name", "reserved"),
    (r"()cannot configure default credentials", "nothing"),
]


def told(environment: dict, file: str) -> dict:
    path = os.path.join(folder.name, "config")
    with open(path, "w") as out:
        out.write(file)
    os.environ["DATABRICKS_CONFIG_FILE"] = path
    os.environ.update(environment)
    try:
        found = config.Config()
    except ValueError as error:
        for pattern, kind in ERRORS:
            if match := re.search(pattern, str(error)):
                return {"error": kind + match[1]}
        raise
    finally:
        for name in environment:
            del os.environ[name]
    result = {"auth_type": found.auth_type, "host": found.host}
    if found.auth_type == "pat":
        result["token"] = found.authenticate()["Authorization"].removeprefix("Bearer ")
    if found.auth_type == "oauth-m2m":
        result |= {"client_id": found.client_id, "client_secret": found.client_secret}
    if found.auth_type == "azure-client-secret":
        result |= {"client_id": found.azure_client_id, "client_secret": found.azure_client_secret,
                   "tenant_id": found.azure_tenant_id, "resource_id": found.azure_workspace_resource_id}
    return result


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1]) as cases:
        print(json.dumps([told(environment, file) for environment, file in json.load(cases)]))
