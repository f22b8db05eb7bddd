# Drops a trigger file for heartbeat: paste it into the notebook, behind what it tells the end of.
<<imports>>from datetime import datetime, timedelta, timezone

BASE = <<base>>
SENSOR_ID = <<sensor_id>>


<<body>>


def drop_trigger_file():
    now = datetime.now(timezone.utc)
    # A name that is taken is left as it is, and the next second tried.
    for ahead in range(60):
        stamp = (now + timedelta(seconds=ahead)).strftime("%Y%m%d_%H%M%S")
        name = f"{SENSOR_ID}_{stamp}.txt"
        path = f"{BASE}/{SENSOR_ID}/{name}"
        try:
            dbutils.fs.put(path, body(name), overwrite=False)
            return path
        except Exception as error:
            told = f"{type(error).__name__} {error}".lower().replace(" ", "").replace("_", "")
            if "alreadyexists" not in told:
                raise
    raise RuntimeError(f"60 trigger files of the coming minute are there already in {BASE}/{SENSOR_ID}")


drop_trigger_file()
