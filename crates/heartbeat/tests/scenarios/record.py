#!/usr/bin/env python3
"""Runs the scenarios of this folder through the original and writes down what it did.

    python record.py [--jars DIR] [--kafka HOST:PORT] [--work DIR] [--missing | --only NAME...] [FILE.json]...

Every scenario's `name`, `about`, `control`, `sensor`, `steps`, `corner` and `expected` are inputs and kept as they are; `recorded` is written
anew. README.md has the set-up and the format. The original itself is not changed: what it lacks outside Databricks is put around it
(see `surround_the_original`).
"""
import argparse
import contextlib
import datetime as dt
import json
import logging
import os
import pathlib
import re
import shutil
import sys
import time
import uuid

os.environ["TZ"] = "UTC"
time.tzset()

HERE = pathlib.Path(__file__).resolve().parent
TEXT, TIME = "string", "timestamp"
CONTROL = {  # the 15 columns
    "sensor_source": TEXT, "sensor_id": TEXT, "sensor_read_type": TEXT, "asset_description": TEXT, "upstream_key": TEXT,
    "preprocess_query": TEXT, "latest_event_fetched_timestamp": TIME, "trigger_job_id": TEXT, "trigger_job_name": TEXT, "status": TEXT,
    "status_change_timestamp": TIME, "job_start_timestamp": TIME, "job_end_timestamp": TIME, "job_state": TEXT, "dependency_flag": TEXT,
}
SENSOR = {  # the 7 columns
    "sensor_id": TEXT, "assets": "array<string>", "status": TEXT, "status_change_timestamp": TIME, "checkpoint_location": TEXT,
    "upstream_key": TEXT, "upstream_value": TEXT,
}
CONTROL_TABLE, SENSOR_TABLE = "rec.control", "rec.sensor"
DATA_FORMATS = {"kafka": "kafka", "trigger_file": "cloudfiles", "delta_table": "delta", "lmu_delta_table": "delta", "sap_b4": "jdbc", "sap_bw": "jdbc"}
PRODUCTS = ("sales", "stock")  # the products of kafka_configs
TIME_FORMAT = "%Y-%m-%d %H:%M:%S"


# ---- the JSON files ---------------------------------------------------------------------------------------------------------------------

def dump(scenarios):
    """Pretty-printed with one table row and one step per line."""
    flat = lambda value: json.dumps(value, ensure_ascii=False)

    def lines(rows, indent):
        if rows is None:
            return "null"
        if not rows:
            return "[]"
        return "[\n" + ",\n".join(indent + " " + flat(row) for row in rows) + "\n" + indent + "]"

    def outcome(entry):
        return ('   {"control": ' + lines(entry["control"], "    ") + ',\n    "sensor": ' + lines(entry["sensor"], "    ")
                + ',\n    "run_now": ' + flat(entry["run_now"]) + ',\n    "error": ' + flat(entry["error"]) + "}")

    def outcomes(entries):
        return "[\n" + ",\n".join(outcome(entry) for entry in entries) + "\n  ]"

    def scenario(s):
        parts = [f'  "name": {flat(s["name"])}', f'  "about": {flat(s["about"])}', f'  "control": {lines(s["control"], "  ")}',
                 f'  "sensor": {lines(s["sensor"], "  ")}', f'  "steps": {lines(s["steps"], "  ")}',
                 f'  "recorded": {outcomes(s["recorded"])}', f'  "corner": {flat(s["corner"])}']
        if s.get("expected") is not None:
            parts.append(f'  "expected": {outcomes(s["expected"])}')
        return " {\n" + ",\n".join(parts) + "\n }"

    return "[\n" + ",\n".join(scenario(s) for s in scenarios) + "\n]\n"


# ---- what the original gets instead of Databricks ---------------------------------------------------------------------------------------

class JobsApi:
    """Stands for `requests.post`: notes the bodies of run-now and answers as the scenario's step says."""

    def __init__(self):
        self.answers, self.bodies, self.runs = {}, [], 0

    def post(self, url, data=None, **_):
        import requests

        assert url == "https://workspace.example/api/2.1/jobs/run-now", url
        body = json.loads(data)
        self.bodies.append(body)
        self.runs += 1
        answer = self.answers.get(str(body["job_id"]), {"status": 200, "body": {"run_id": self.runs, "number_in_job": self.runs}})
        response = requests.Response()
        response.status_code = answer["status"]
        text = answer["body"] if isinstance(answer["body"], str) else json.dumps(answer["body"])
        response._content, response.encoding = text.encode(), "utf-8"
        return response


class Topics:
    """Topic names of scenarios stand for names that no earlier recording has used."""

    def __init__(self, bootstrap):
        self.bootstrap, self.names, self.made = bootstrap, {}, []

    def real(self, topic):
        return self.names.setdefault(topic, f"{re.sub('[^A-Za-z0-9._-]', '-', topic)}-{uuid.uuid4().hex[:10]}")

    def create(self, topic, partitions):
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for future in admin.create_topics([NewTopic(self.real(topic), partitions, 1)]).values():
            future.result(30)
        self.made.append(self.real(topic))

    def delete_all(self):
        from confluent_kafka.admin import AdminClient

        if self.made:
            admin = AdminClient({"bootstrap.servers": self.bootstrap})
            for future in admin.delete_topics(self.made).values():
                future.result(30)
        self.names, self.made = {}, []

    def produce(self, topic, partition, count):
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self.bootstrap})
        for number in range(count):
            producer.produce(self.real(topic), value=f"record {number}".encode(), partition=partition)
        assert producer.flush(30) == 0


def surround_the_original(api, topics):
    """Three things that only exist on Databricks; the original's own code stays as it is."""
    import requests
    from pyspark.sql.streaming import DataStreamReader

    requests.post = api.post
    load = DataStreamReader.load

    def load_here(self, path=None, format=None, schema=None, **options):
        if format == "cloudfiles":  # Auto Loader -> Spark's own csv file stream over the same folder
            options = {k: v for k, v in options.items() if not k.startswith("cloudFiles.")}
            return load(self, path, "csv", schema, recursiveFileLookup="true", **options)
        if format == "kafka":  # SSL -> PLAINTEXT, topic names of the scenario -> real ones
            options = {k: v for k, v in options.items() if not k.startswith("kafka.ssl.")}
            options.update({"kafka.security.protocol": "PLAINTEXT", "subscribe": topics.real(options["subscribe"])})
            options.update({"kafka.default.api.timeout.ms": "8000", "kafka.request.timeout.ms": "5000"})
        return load(self, path, format, schema, **options)

    DataStreamReader.load = load_here


def session(jars, work):
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").appName("record")
    for key, value in {
        "spark.driver.extraClassPath": f"{jars}/*", "spark.driver.memory": "2g", "spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false",
        "spark.driver.extraJavaOptions": "-Duser.timezone=UTC -XX:TieredStopAtLevel=1 -XX:+UseSerialGC", "spark.sql.session.timeZone": "UTC", "spark.sql.shuffle.partitions": "1",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension", "spark.sql.warehouse.dir": f"{work}/warehouse",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.databricks.delta.snapshotPartitions": "1", "spark.sql.streaming.numRecentProgressUpdates": "1",
    }.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    spark.sql("CREATE DATABASE IF NOT EXISTS rec")
    return spark


# ---- one scenario -----------------------------------------------------------------------------------------------------------------------

class Recording:
    def __init__(self, spark, api, topics, scenario, work):
        self.spark, self.api, self.topics, self.scenario = spark, api, topics, scenario
        self.base = work / f"{scenario['name']}-{uuid.uuid4().hex[:6]}"
        self.base.mkdir(parents=True)
        (self.base / "trigger").mkdir()
        self.presets, self.seen = set(), set()  # times given by the scenario; times that an earlier step has shown
        self.make_table(CONTROL_TABLE, CONTROL, scenario["control"])
        self.make_table(SENSOR_TABLE, SENSOR, scenario["sensor"])

    def value(self, value, kind):
        if value is None:
            return None
        if kind == TIME:
            value = dt.datetime.strptime(value, TIME_FORMAT)
            self.presets.add(value)
        elif isinstance(value, str):
            value = value.replace("<checkpoint>", f"{self.base}/checkpoint")
        return value

    def make_table(self, name, columns, rows):
        for row in rows:
            assert set(row) <= set(columns), row
        ddl = ", ".join(f"{column} {kind}" for column, kind in columns.items())
        self.spark.sql(f"DROP TABLE IF EXISTS {name}")
        self.spark.sql(f"CREATE TABLE {name} ({ddl}) USING delta LOCATION '{self.base}/{name}'")
        if rows:
            data = [tuple(self.value(row.get(column), kind) for column, kind in columns.items()) for row in rows]
            self.spark.createDataFrame(data, ddl).coalesce(1).write.format("delta").mode("append").saveAsTable(name)

    def read_table(self, name, columns):
        """The table with its times masked: a preset stays, what this step wrote is <now>, what an earlier one wrote is <before>."""
        rows, fresh = [], set()
        for row in self.spark.table(name).collect():
            shown = {}
            for column, kind in columns.items():
                value = row[column]
                if value is None:
                    continue
                if kind == TIME:
                    if value in self.presets:
                        value = value.strftime(TIME_FORMAT)
                    else:
                        fresh.add(value)
                        value = "<before>" if value in self.seen else "<now>"
                elif isinstance(value, str):
                    value = value.replace(f"{self.base}/checkpoint", "<checkpoint>")
                shown[column] = value
            rows.append(shown)
        key = ("sensor_id", "trigger_job_id", "sensor_source") if columns is CONTROL else ("sensor_id",)
        rows.sort(key=lambda row: ([row.get(k, "") for k in key], json.dumps(row, sort_keys=True)))
        return rows, fresh

    def acon(self, source):
        kind = source.lower()
        acon = {
            "sensor_source": source, "data_format": DATA_FORMATS[kind], "heartbeat_sensor_db_table": CONTROL_TABLE,
            "lakehouse_engine_sensor_db_table": SENSOR_TABLE, "domain": "workspace.example", "token": "TOKEN",
            "base_checkpoint_location": f"{self.base}/checkpoint",
        }
        if kind == "kafka":
            product = {"kafka_bootstrap_servers_list": self.topics.bootstrap, "kafka_ssl_truststore_location": "", "truststore_pwd_secret_key": "",
                       "kafka_ssl_keystore_location": "", "keystore_pwd_secret_key": ""}
            acon.update(options={"readChangeFeed": "true"}, kafka_configs={name: product for name in PRODUCTS}, kafka_secret_scope="")
        elif kind == "trigger_file":
            fields = [{"name": "file_name", "type": "string", "nullable": True, "metadata": {}},
                      {"name": "file_modification_time", "type": "timestamp", "nullable": True, "metadata": {}}]
            acon.update(options={"cloudFiles.format": "csv"}, base_trigger_file_location=f"{self.base}/trigger",
                        schema_dict={"type": "struct", "fields": fields})
        return acon

    def do(self, step):
        from lakehouse_engine import engine

        def do_feed():
            path = self.base / f"feed-{uuid.uuid4().hex[:6]}.csv"
            path.write_bytes(step["csv"].encode())
            engine.execute_heartbeat_sensor_data_feed(str(path), CONTROL_TABLE)

        def do_put_file():
            path = self.base / "trigger" / step["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(step["body"].encode())

        def do_make_dir():
            (self.base / "trigger" / step["path"]).mkdir(parents=True)

        def do_create_topic():
            self.topics.create(step["topic"], step["partitions"])

        def do_produce():
            self.topics.produce(step["topic"], step["partition"], step["count"])

        def do_check():
            engine.execute_sensor_heartbeat(acon=self.acon(step["source"]))

        def do_trigger():
            self.api.answers = step.get("answers", {})
            engine.trigger_heartbeat_sensor_jobs(self.acon(step["source"]))

        def do_complete():
            engine.update_heartbeat_sensor_status(CONTROL_TABLE, SENSOR_TABLE, step["job_id"])

        def do_set():
            from delta.tables import DeltaTable
            from pyspark.sql.functions import col, lit

            values = {column: lit(self.value(value, CONTROL[column])).cast(CONTROL[column]) for column, value in step["values"].items()}
            DeltaTable.forName(self.spark, CONTROL_TABLE).update(
                (col("sensor_id") == step["sensor_id"]) & (col("trigger_job_id") == step["trigger_job_id"]), values)

        locals()["do_" + step["do"]]()

    def error(self, exception):
        """The exception's name and first line, without what differs from one recording to the next."""
        text = f"{type(exception).__name__}: {str(exception).strip()}".split("\n")[0]
        for shown, real in self.topics.names.items():
            text = text.replace(real, shown)
        text = text.replace(str(self.base), "<work>")
        text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uuid>", text)
        text = re.sub(r"feed-[0-9a-f]{6}", "feed", text)
        return re.sub(r"o\d+\.", "o<n>.", text)[:400].rstrip()

    def play(self):
        recorded = []
        for step in self.scenario["steps"]:
            self.api.bodies, error = [], None
            try:
                self.do(step)
            except Exception as exception:  # whatever the original raises is the result
                if isinstance(exception, (AssertionError, ImportError, NameError)):
                    raise
                error = self.error(exception)
            control, fresh = self.read_table(CONTROL_TABLE, CONTROL)
            sensor, more = self.read_table(SENSOR_TABLE, SENSOR)
            self.seen |= fresh | more
            bodies = sorted(self.api.bodies, key=lambda body: str(body["job_id"]))
            recorded.append({"control": control, "sensor": sensor, "run_now": bodies, "error": error})
        return recorded

    def close(self):
        self.topics.delete_all()
        for name in (CONTROL_TABLE, SENSOR_TABLE):
            self.spark.sql(f"DROP TABLE IF EXISTS {name}")
        shutil.rmtree(self.base, ignore_errors=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--jars", default="/tmp/rec/jars", help="folder with the delta and kafka jars")
    arguments.add_argument("--kafka", default="127.0.0.1:19092", help="a PLAINTEXT broker")
    arguments.add_argument("--work", type=pathlib.Path, default=pathlib.Path("/tmp/rec/work"))
    arguments.add_argument("--only", action="append", help="names of scenarios")
    arguments.add_argument("--missing", action="store_true", help="only scenarios without a recording")
    arguments.add_argument("files", nargs="*", type=pathlib.Path)
    options = arguments.parse_args()
    api, topics = JobsApi(), Topics(options.kafka)
    spark = session(options.jars, options.work)
    surround_the_original(api, topics)
    logging.disable(logging.CRITICAL)
    names = set()
    for file in options.files or sorted(HERE.glob("*.json")):
        scenarios = json.loads(file.read_text())
        for scenario in scenarios:
            assert scenario["name"] not in names, scenario["name"]
            names.add(scenario["name"])
            if (options.only and scenario["name"] not in options.only) or (options.missing and scenario["recorded"]):
                continue
            started = time.monotonic()
            with contextlib.closing(Recording(spark, api, topics, scenario, options.work)) as recording:
                scenario["recorded"] = recording.play()
            print(f"{file.name}: {scenario['name']}: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
            text = dump(scenarios)
            assert json.loads(text) == scenarios
            file.write_text(text)


if __name__ == "__main__":
    main()
