//! The `larder` binary: sets the allocator, and hands the command line to [`larder::cli`].

use std::process::ExitCode;

/// jemalloc holds the least memory beyond what is alive, which is what keeps the cap of `[memory] capacity` true.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What jemalloc reads before `main`: freed pages go back after half a second, and two arenas hold less than one per
/// core would. Each thread keeps up to 128 freed pieces of a size at hand, as many as a core may have requests under way:
/// by default the larger pieces, among them the buffers that heads are read to, go back to the arena after twenty. It looks
/// for what it has too much of every 4 MiB, and gets small pieces out of runs of 64 KiB: the defaults (64 KiB, and runs of a
/// few pieces) cost a miss three times what it spends on allocating otherwise.
/// `_RJEM_MALLOC_CONF=confirm_conf:true larder check` shows that it is in force.
///
/// Exporting a symbol under a chosen name counts as unsafe, since a clash of names would not be noticed; this name is
/// jemalloc's own hook for this very purpose. It wants a pointer to a C string, which a reference to bytes is.
#[allow(unsafe_code)]
#[used]
#[unsafe(export_name = "_rjem_malloc_conf")]
static MALLOC_CONF: &[u8; 117] =
    b"dirty_decay_ms:500,narenas:2,tcache_nslots_small_min:128,tcache_gc_incr_bytes:4194304,\
    slab_sizes:1-128:4|129-8192:16\0";

fn main() -> ExitCode {
    larder::cli::run()
}
