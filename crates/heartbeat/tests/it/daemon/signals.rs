//! Signals, and what systemd is told.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::daemon::{Daemon, command};
use crate::support::wait::until;
use crate::support::yard::{Settings, Yard, told};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hangup_takes_another_configuration_and_refuses_a_broken_one() {
    let yard = Yard::new("jobs: {21: {}, 22: {}}").await;
    yard.create_topics(&["t".into()], 1).await;
    yard.feed("topic t 21 TRUE\nfolder x 22 TRUE").await;
    let folders_only = Settings { acons: vec!["files"], files_period: "1h".into(), ..Settings::default() };
    yard.configure(&folders_only);
    let daemon = yard.daemon().await;
    daemon.ready().await;
    yard.record("t").await;
    yard.file("x", "1.txt");

    // Another period and another source; runs are told nothing any more.
    yard.configure(&Settings { pass_news: false, ..Settings::default() });
    daemon.signal(Signal::HUP);
    yard.runs_end(21, 1, &daemon).await;
    yard.runs_end(22, 1, &daemon).await;
    assert!(!yard.runs(22)[0].parameters.contains_key("heartbeat_news"));

    for (broken, what) in [
        ("heartbeat.yaml", "acons: []\nshutdown_grace: soon\n"),
        ("heartbeat.yaml", "acons: [{path: no-such-file.yaml}]"),
        ("kafka.yaml", "sensor_source: kafka"),
    ] {
        yard.configure(&Settings::default());
        yard.write(broken, what);
        let refused = "the daemon goes on with the one before";
        let before = daemon.log().text().matches(refused).count();
        daemon.signal(Signal::HUP);
        daemon.logs(refused, before + 1).await;
    }
    yard.record("t").await;
    yard.file("x", "2.txt");
    yard.runs_end(21, 2, &daemon).await;
    yard.runs_end(22, 2, &daemon).await;

    yard.configure(&Settings { acons: vec!["files"], ..Settings::default() });
    daemon.signal(Signal::HUP);
    daemon.logs("daemon started", 3).await;
    yard.record("t").await;
    yard.file("x", "3.txt");
    yard.runs_end(22, 3, &daemon).await;
    assert_eq!(told(&yard.runs(22)[2])["x"], ["3.txt"]);
    assert_eq!(yard.runs(21).len(), 2, "nobody looks at topics now");
    let page = daemon.page("/metrics").await.1;
    assert!(!page.contains("source=\"kafka\""), "{page}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configuration_with_mistakes_starts_nothing_and_tells_all_of_them() {
    let yard = Yard::new("{}").await;
    yard.write("heartbeat.yaml", "acons: [{path: none.yaml}]\nshutdown_grace: soon\nsevrer: {}\n");
    let output = command(yard.path()).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for word in ["none.yaml", "shutdown_grace", "sevrer", "server"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_is_told_of_start_reload_life_and_end() {
    let yard = Yard::new("{}").await;
    let path = yard.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_nonblocking(true).unwrap();
    let mut told = String::new();
    let mut tells = async |wanted: &str, daemon: &Daemon| {
        until(wanted, async || {
            let mut buffer = [0; 4096];
            while let Ok(length) = manager.recv(&mut buffer) {
                told.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
                told.push('\n');
            }
            match told.find(wanted) {
                Some(at) => {
                    told.drain(..at + wanted.len());
                    Ok(())
                }
                None => Err((told.clone(), daemon.log().text())),
            }
        })
        .await;
    };
    let mut command = command(yard.path());
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    let daemon = Daemon::start(command).await;
    tells("READY=1\nSTATUS=2 source(s)", &daemon).await;
    tells("WATCHDOG=1", &daemon).await;
    daemon.signal(Signal::HUP);
    tells("RELOADING=1\nMONOTONIC_USEC=", &daemon).await;
    tells("READY=1", &daemon).await;
    tells("WATCHDOG=1", &daemon).await;
    daemon.signal(Signal::TERM);
    tells("STOPPING=1", &daemon).await;
    let status = tokio::time::timeout(Duration::from_secs(10), daemon.ended()).await.unwrap();
    assert!(status.success(), "{status}");
}
