//! A short run of the mixed soak, so that the long one is known to work; see `benches/soak`.

#[path = "../../benches/soak/mixed.rs"]
mod mixed;
#[path = "../../benches/soak/process.rs"]
mod process;

#[test]
fn ten_seconds_of_the_mixed_soak_keep_every_promise() {
    let broken = mixed::run(10, 200);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
