<<body>>


def put(key, text):
    """Whether it was written; otherwise there is one of that name."""
<<put>>


def drop_trigger_file():
    now = datetime.now(timezone.utc)
    # A name that is taken is left as it is, and the next second tried.
    for ahead in range(60):
        stamp = (now + timedelta(seconds=ahead)).strftime("%Y%m%d_%H%M%S")
        name = f"{SENSOR_ID}_{stamp}.txt"
        key = f"{FOLDER}{SENSOR_ID}/{name}"
        if put(key, body(name)):
            return key
    raise RuntimeError(f"60 trigger files of the coming minute are there already in {FOLDER}{SENSOR_ID}")
