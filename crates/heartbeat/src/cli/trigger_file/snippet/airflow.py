# Drops a trigger file for heartbeat: paste it into the DAG, and put `drop_trigger` behind the tasks that it tells the end of.
<<imports>>
try:
    from airflow.providers.standard.operators.python import PythonOperator
except ImportError:  # Airflow 2
    from airflow.operators.python import PythonOperator

<<constants>>
SENSOR_ID = <<sensor_id>>


<<functions>>


drop_trigger = PythonOperator(task_id="drop_trigger", python_callable=drop_trigger_file)
