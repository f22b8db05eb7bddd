//! The Delta store against real files, damaged tables, a lying storage, a model, and Spark.

mod damage;
mod model;
mod spark;
mod store;
mod support;
