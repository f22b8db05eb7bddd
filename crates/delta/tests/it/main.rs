//! The Delta store against real files, damaged tables, a lying storage, a model, and Spark.

#![expect(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "helpers of tests may panic and take what is at hand"
)]

mod blobs;
mod clock_store;
mod conformance;
mod damage;
mod journal;
mod maintenance;
mod maintenance_model;
mod model;
mod spark;
mod spark_maintenance;
mod stale;
mod store;
mod support;
