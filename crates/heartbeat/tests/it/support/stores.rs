//! Real servers of stores, as `scripts/stores/start` runs them, and stores on them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use heartbeat::secrets::Secrets;
use heartbeat::stores::{Store, StoreError};
use heartbeat_core::acon::{Acon, SourceConfig, StorageOptions};
use heartbeat_core::location::Location;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Servers that run already, by the names of their settings.
pub(crate) struct Servers(BTreeMap<String, String>);

impl Servers {
    /// Those of `HEARTBEAT_TEST_STORES`; `None` when there are none.
    #[expect(clippy::disallowed_methods, reason = "the gate of the real servers")]
    pub(crate) fn real() -> Option<Self> {
        let dir = match std::env::var("HEARTBEAT_TEST_STORES") {
            Ok(dir) if !dir.is_empty() => dir,
            _ if std::env::var("CI").as_deref() == Ok("true") => {
                panic!("HEARTBEAT_TEST_STORES is unset in CI")
            }
            _ => {
                eprintln!("SKIPPED: no real stores, HEARTBEAT_TEST_STORES is unset");
                return None;
            }
        };
        let text = std::fs::read_to_string(Path::new(&dir).join("env")).unwrap();
        let settings = text.lines().filter_map(|line| line.split_once('='));
        Some(Self(settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }

    /// One setting, such as the URL of a server.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("no {name}: start it with scripts/stores/start"))
    }
}

/// Options as an ACON has them.
pub(crate) fn options(pairs: &[(&str, &str)]) -> StorageOptions {
    let document = serde_json::json!({
        "sensor_source": "trigger_file",
        "base_trigger_file_location": "/base",
        "data_format": "cloudfiles",
        "heartbeat_sensor_db_table": "database.control",
        "lakehouse_engine_sensor_db_table": "database.sensors",
        "domain": "https://adb-1.2.azuredatabricks.net",
        "storage_options": pairs.iter().copied().collect::<BTreeMap<_, _>>(),
    });
    let source = Acon::from_value(&document).result.unwrap().source;
    let SourceConfig::TriggerFile(files) = source else { panic!("{source:?}") };
    files.storage
}

/// The store at a location.
pub(crate) async fn open(location: &str, pairs: &[(&str, &str)]) -> Result<Store, StoreError> {
    let location = Location::parse(location).unwrap();
    Store::open(&location, &options(pairs), &Arc::new(Secrets::default())).await
}

/// A folder's name that nobody else has.
pub(crate) fn fresh() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Long enough for a busy machine.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_mins(2)
}

/// Stands before a server and loses the answer to one request: the server has done what it was asked, and the connection
/// breaks. All other requests go through.
pub(crate) struct Lossy {
    pub(crate) url: String,
    lost: Arc<AtomicBool>,
}

impl Lossy {
    /// Before the server at `url`; the first request that begins with `method` is the one.
    pub(crate) async fn before(url: &str, method: &'static str) -> Self {
        let server = url.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let lost = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&lost);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, server.clone(), method, Arc::clone(&shared)));
            }
        });
        Self { url, lost }
    }

    /// Whether an answer was lost.
    pub(crate) fn has_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }
}

/// Relays one connection; the answer that is lost is waited for, so that the request has had its effect.
async fn relay(mut client: TcpStream, server: String, method: &'static str, lost: Arc<AtomicBool>) {
    let mut server = TcpStream::connect(server).await.unwrap();
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(length) if length > 0 => {
                    let is_it = up[..length].starts_with(method.as_bytes());
                    server.write_all(&up[..length]).await.unwrap();
                    if is_it && !lost.swap(true, Ordering::SeqCst) {
                        // Small requests come in one piece, or their head and their body do.
                        lose(&mut client, &mut server).await;
                        return;
                    }
                }
                _ => return,
            },
            read = server.read(&mut down) => match read {
                Ok(length) if length > 0 => client.write_all(&down[..length]).await.unwrap(),
                _ => return,
            },
        }
    }
}

/// Passes on what is left of the request until the server has answered.
async fn lose(client: &mut TcpStream, server: &mut TcpStream) {
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(length) if length > 0 => server.write_all(&up[..length]).await.unwrap(),
                _ => return,
            },
            _ = server.read(&mut down) => return,
        }
    }
}
