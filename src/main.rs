//! The `larder` binary: sets the allocator, and hands the command line to [`larder::cli`].

use std::process::ExitCode;

/// jemalloc keeps the least memory beyond live allocations, so that the cap under `[memory]` holds.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Options that jemalloc reads before `main`.
///
/// Freed pages return to the system after half a second, and two arenas hold less than one per core
/// would. Each thread keeps up to 128 freed allocations of a size class at hand, as many as a core
/// may have requests in flight; by default it returns the larger classes, among them the buffers
/// that heads are read into, to the arena after 20. Thread caches are trimmed every 4 MiB, and
/// allocations of 129 to 8,192 bytes come from slabs of 64 KiB (smaller ones from 16 KiB): with the
/// defaults (every 64 KiB, slabs of a few pages) a miss spends three times as much on allocating.
/// `_RJEM_MALLOC_CONF=confirm_conf:true larder check` prints the options in force.
///
/// Exporting a symbol under a chosen name counts as unsafe, since nothing would notice a clash of
/// names; this name is jemalloc's own hook for this purpose. jemalloc expects a pointer to a C
/// string, and a reference to bytes has the same representation.
#[allow(unsafe_code)]
#[used]
#[unsafe(export_name = "_rjem_malloc_conf")]
static MALLOC_CONF: &[u8; 117] =
    b"dirty_decay_ms:500,narenas:2,tcache_nslots_small_min:128,tcache_gc_incr_bytes:4194304,\
    slab_sizes:1-128:4|129-8192:16\0";

fn main() -> ExitCode {
    larder::cli::run()
}
