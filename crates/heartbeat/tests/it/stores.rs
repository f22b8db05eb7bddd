//! Stores: real servers of S3, Azure and Google Cloud Storage.

mod tables;
