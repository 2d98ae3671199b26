//! Configuration reloads under load: a new configuration takes effect completely or not at all, and
//! no request notices.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;

use crate::harness::{Client, End, Gate, Origin, Process, Reply, eventually};

/// A response without a lifetime, so that its Cache-Status shows the route's.
fn plain(body: &str) -> Reply {
    Reply::status("200 OK").body(body)
}

/// Returns a configuration under which `/n…` is fresh for `seconds`. Only an explicit reload
/// applies the file.
fn with_ttl(seconds: u64) -> String {
    format!(
        "reload_on_change = false\n[[route]]\npath = \"/n\"\nttl = \"{seconds}s\"\n[[route]]\npath = \"/\"\nttl = \"1h\""
    )
}

/// Requests a new URL. Returns the seconds that its response is fresh, rounded up to tens, since a
/// second may pass meanwhile.
#[track_caller]
fn ttl(larder: &Process, target: &str) -> u64 {
    let response = larder.client().get(target);
    assert_eq!((response.status(), response.text().as_str()), (200, "hello"));
    let ttl = response.ttl().and_then(|ttl| u64::try_from(ttl).ok()).expect("the response is stored");
    ttl.next_multiple_of(10)
}

#[test]
fn reloads_under_load_fail_no_request_and_broken_ones_change_nothing() {
    let reloads = std::env::var("LARDER_RELOADS").ok().and_then(|text| text.parse().ok()).unwrap_or(200_u64);
    let origin = Origin::unrecorded(|request| match request.target().as_str() {
        "/slow" => Reply::fresh("slow").header("Cache-Control", "no-store"),
        _ => plain("hello"),
    });
    let larder = Process::serve(&origin, &with_ttl(1000));
    let (done, served) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for load in 0..3 {
            let (larder, done, served) = (&larder, &done, &served);
            scope.spawn(move || {
                // One connection for all requests: a reload closes none.
                let mut client = larder.client();
                let mut nth = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    nth += 1;
                    let target = match nth % 4 {
                        0 => format!("/miss/{load}/{nth}"),
                        1 => "/slow".to_owned(),
                        _ => "/hit".to_owned(),
                    };
                    let response = client.get(&target);
                    assert_eq!((response.status(), response.end), (200, End::Clean), "{target}");
                    assert_eq!(response.header("connection"), None);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let ended = SetOnDrop(&done);
        let mut in_force = 1000;
        for nth in 1..=reloads {
            // Waits for further requests, so that some are sent before, between and after the
            // reloads.
            let before = served.load(Ordering::Relaxed);
            eventually("requests are served", || served.load(Ordering::Relaxed) > before + 3);
            let is_broken = nth.is_multiple_of(3);
            if is_broken {
                larder.configure(&format!("{}\nttl_of_nothing = {nth}", with_ttl(100_000 + 10 * nth)));
            } else {
                larder.configure(&with_ttl(1000 + 10 * nth));
                in_force = 1000 + 10 * nth;
            }
            let (status, report) = larder.reload();
            assert_eq!(
                (status, report["applied"] == true),
                if is_broken { (422, false) } else { (200, true) },
                "{report}"
            );
            assert_eq!(ttl(&larder, &format!("/n/{nth}")), in_force, "the last valid configuration is in force");
        }
        drop(ended);
    });
    let stats = larder.stats();
    assert_eq!(
        (&stats["requests"]["by_outcome"]["failed"], &stats["server"]["panics"]),
        (&0.into(), &0.into()),
        "{stats}"
    );
}

/// Ends the load, even where the test fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_broken_file_is_reported_by_line_and_key_and_restart_keys_by_name() {
    let origin = Origin::start(|_| plain("hello"));
    let larder = Process::serve(&origin, &with_ttl(10));
    assert_eq!(larder.stats()["reload"], Value::Null);
    larder.configure("reload_on_change = false\n[memory]\ncapcity = \"1GiB\"");
    let (status, report) = larder.reload();
    assert_eq!(status, 422, "{report}");
    let problem = &report["problems"][0];
    assert_eq!((&problem["line"], &problem["key"]), (&5.into(), &"memory.capcity".into()), "{report}");
    assert!(problem["file"].as_str().unwrap().ends_with("larder.toml"), "{report}");
    let stats = larder.stats();
    assert_eq!(stats["reload"], report);
    assert!(stats["warnings"].to_string().contains("The last reload (POST /reload) failed"), "{stats}");

    larder.configure(&format!(
        "server.workers = 7\nlog.access = \"json\"\nlog.access_file = \"/nonexistent/a\"\n{}",
        with_ttl(20)
    ));
    let (status, report) = larder.reload();
    assert_eq!((status, &report["problems"][0]["key"]), (422, &"log.access_file".into()), "{report}");
    assert_eq!(ttl(&larder, "/n/1"), 10, "a reload applies completely or not at all");

    larder.configure(&format!("server.workers = 7\n{}", with_ttl(20)));
    let (status, report) = larder.reload();
    assert_eq!((status, &report["applied"]), (200, &true.into()), "{report}");
    let waits = report["needs_restart"].as_array().unwrap();
    assert_eq!(waits.len(), 1, "{report}");
    assert!(waits[0].as_str().unwrap().starts_with("`server.workers` needs a restart"), "{report}");
    assert_eq!(ttl(&larder, "/n/2"), 20, "the other keys are in force");
}

#[test]
fn sighup_and_a_changed_file_reload_and_flags_keep_overriding_the_file() {
    let origin = Origin::start(|_| plain("hello"));
    let route = |seconds: u64| format!("origin.url = \"http://127.0.0.1:1\"\n[[route]]\nttl = \"{seconds}s\"");
    let larder = Process::serve(&origin, &route(10));
    larder.configure(&route(20));
    eventually("the change is seen", || larder.stats()["reload"]["by"] == "file");
    assert_eq!(ttl(&larder, "/a"), 20);
    larder.configure("listen = 1");
    eventually("the broken file is refused", || larder.stats()["reload"]["applied"] == false);
    assert_eq!(ttl(&larder, "/b"), 20);
    std::fs::remove_file(larder.folder().join("larder.toml")).unwrap();
    larder.signal("-HUP");
    eventually("a missing file is a problem", || {
        let reload = &larder.stats()["reload"];
        reload["by"] == "SIGHUP" && reload["applied"] == false
    });
    assert_eq!(ttl(&larder, "/c"), 20);
}

#[test]
fn requests_under_way_end_under_the_old_configuration_and_entries_stay() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |request| match request.target().as_str() {
            "/slow" => Reply::fresh("first ").wait(&gate).body("last"),
            _ => Reply::fresh("hello"),
        })
    };
    let larder = Process::serve(&origin, "reload_on_change = false");
    larder.client().get("/stored").check(200, "hello", "stored");
    let mut slow = larder.client();
    slow.ask("GET", "/slow", &[], b"");
    let head = slow.final_head();
    gate.arrived(1);
    let bypass =
        "reload_on_change = false\norigin.connections_max = 5\n[[route]]\npath = \"/slow\"\ncache = \"bypass\"";
    larder.configure(bypass);
    assert_eq!(larder.reload().0, 200);
    assert_eq!(larder.stats()["origin"]["permits_in_use"], 1, "the count continues, under another bound");
    gate.open();
    let rest = slow.rest(head);
    assert_eq!((rest.text().as_str(), rest.end), ("first last", End::Clean));
    larder.client().get("/stored").check(200, "hello", "hit");
    larder.client().get("/slow").check(200, "first last", "fwd=bypass");
    eventually("the permit is back", || larder.stats()["origin"]["permits_in_use"] == 0);
}

#[test]
fn sighup_reopens_the_access_log_even_where_the_configuration_is_broken() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let lines = "reload_on_change = false\nlog.access = \"common\"\nlog.access_file = \"access.log\"";
    let larder = Process::serve(&origin, lines);
    let (file, rotated) = (larder.folder().join("access.log"), larder.folder().join("access.log.1"));
    let has = |path: &std::path::Path, part: &str| std::fs::read_to_string(path).is_ok_and(|text| text.contains(part));
    let rotate = |client: &mut Client, target: &str, by: usize| {
        client.get(&format!("/before{target}"));
        eventually("the line is written", || has(&file, &format!("/before{target}")));
        std::fs::rename(&file, &rotated).unwrap();
        larder.signal("-HUP");
        eventually("the log file exists again", || file.exists());
        // The file exists a moment before the log uses it: a line of that moment still goes to the
        // renamed file.
        eventually("lines go to the new file", || {
            client.get(&format!("/after{target}"));
            has(&file, &format!("/after{target}"))
        });
        assert!(has(&rotated, &format!("/before{target}")), "{by}");
    };
    let mut client = larder.client();
    rotate(&mut client, "/1", 1);
    larder.configure("nonsense = 1");
    rotate(&mut client, "/2", 2);
    assert_eq!(larder.stats()["access_log"]["dropped_lines"], 0);
}
