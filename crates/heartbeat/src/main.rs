//! The binary.

use std::process::ExitCode;

/// Store operations run on whichever thread is free, and glibc keeps what each has freed: memory of a daemon grew for
/// hours (docs/bars.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    heartbeat::cli::main()
}
