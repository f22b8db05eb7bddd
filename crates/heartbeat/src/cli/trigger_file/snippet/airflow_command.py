def drop_trigger_file():
    # The worker needs heartbeat. No shell and no template of Airflow reads the id.
    command = ["heartbeat", "trigger-file", "create", f"--base={BASE}", f"--sensor-id={SENSOR_ID}"]
<<environment>>
    told = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return told.stdout.strip()
