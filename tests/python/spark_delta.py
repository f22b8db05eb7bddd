"""A Spark with Delta that answers one JSON line per JSON line; the Rust tests of crates/delta drive it.

{"sql": "..."}                     -> {"rows": [{column: value, ...}, ...]} or {"error": "..."}
{"changes": "<path>", "from": 1}   -> the same, from the table's change data feed

The SQL function gate(directory) tells a reader of the pipe `started` below that directory that Spark is in
the midst of a statement, and goes on when somebody writes to the pipe `go`.
"""

import json
import os
import sys

from pyspark.sql import SparkSession

DELTA = "io.delta:delta-spark_2.13:4.0.0"


def gate(directory):
    try:
        os.close(os.open(os.path.join(directory, "entered"), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return "go"
    with open(os.path.join(directory, "started"), "w") as started:
        started.write("x")
    with open(os.path.join(directory, "go")) as go:
        go.read()
    return "go"


def session(ivy):
    builder = SparkSession.builder.master("local[2]").appName("heartbeat tests")
    for key, value in {
        "spark.jars.packages": DELTA,
        "spark.jars.ivy": ivy,
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.databricks.delta.snapshotPartitions": "2",
        "spark.databricks.delta.retentionDurationCheck.enabled": "false",
        "spark.sql.warehouse.dir": os.path.join(os.getcwd(), "spark-warehouse"),
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    spark.udf.register("gate", gate)
    return spark


def answer(spark, request):
    if "changes" in request:
        reader = spark.read.format("delta").option("readChangeFeed", "true")
        frame = reader.option("startingVersion", request["from"]).load(request["changes"])
    else:
        frame = spark.sql(request["sql"])
    if not frame.columns:
        return []
    as_json = (
        "to_json(struct(*), map('ignoreNullFields', 'false', 'timestampFormat', 'yyyy-MM-dd HH:mm:ss.SSSSSS'))"
    )
    return [json.loads(row[0]) for row in frame.selectExpr(as_json).collect()]


def main():
    # Whatever Spark or Python prints must not come between the answers.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    spark = session(sys.argv[1])
    print(json.dumps({"rows": []}), file=out, flush=True)
    for line in sys.stdin:
        try:
            reply = {"rows": answer(spark, json.loads(line))}
        except Exception as error:  # every failure of a statement is an answer
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=out, flush=True)
    spark.stop()


if __name__ == "__main__":
    main()
