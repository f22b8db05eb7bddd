//! Tables in Delta.
