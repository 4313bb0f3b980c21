//! The program: allocator, and the exit code of the command that was run.

use std::process::ExitCode;

/// Workers make and drop chunks of every size, and hand them to each other: mimalloc frees across
/// threads without a lock and gives memory back after a burst, where the system's allocator keeps
/// an arena per thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    taskcast::cli::main()
}
