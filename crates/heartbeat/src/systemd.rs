//! What systemd is told when it started the process (`Type=notify` or `notify-reload`), and its watchdog.
//!
//! Two environment variables say so: `NOTIFY_SOCKET`, the socket that is told, and `WATCHDOG_USEC`, the time after which
//! systemd restarts a process that is silent. Without the first nothing is sent. Telling never fails the caller: what
//! cannot be sent is logged.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;

/// How long a full socket may hold up the caller.
const PATIENCE: Duration = Duration::from_secs(1);

/// The service manager, or nobody.
#[derive(Debug, Default)]
pub struct Systemd {
    manager: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Systemd {
    /// Who started this process, by its environment.
    pub fn from_env() -> Self {
        let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        Self::at(&socket, sd_notify::watchdog_enabled())
    }

    /// A manager that listens at `socket`: a path, or `@` and a name in Linux's abstract namespace. `watchdog` is the
    /// silence that it takes for a failure.
    pub fn at(socket: &OsStr, watchdog: Option<Duration>) -> Self {
        match open(socket) {
            Ok(manager) => Self { manager: Some(manager), watchdog },
            Err(error) => {
                tracing::warn!(%error, "the socket of systemd cannot be used, it is told nothing");
                Self::default()
            }
        }
    }

    /// How often [`Systemd::alive`] is to be called: half of what the watchdog allows. `None`: there is no watchdog.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|allowed| allowed / 2)
    }

    /// Start or reload is done.
    pub fn ready(&self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
    }

    /// A reload begins; [`Systemd::ready`] ends it.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "systemd was not told of the reload"),
        }
    }

    /// The end begins.
    pub fn stopping(&self, status: &str) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status(&one_line(status))]);
    }

    /// One line for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.tell(&[NotifyState::Status(&one_line(status))]);
    }

    /// All is well; only to be called while it is.
    pub fn alive(&self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        let Some((socket, manager)) = &self.manager else { return };
        let message: Vec<String> = states.iter().map(ToString::to_string).collect();
        if let Err(error) = socket.send_to_addr(message.join("\n").as_bytes(), manager) {
            tracing::warn!(%error, message = message[0], "systemd could not be told");
        }
    }
}

fn open(socket: &OsStr) -> std::io::Result<(UnixDatagram, SocketAddr)> {
    let manager = address(socket)?;
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok((socket, manager))
}

fn address(socket: &OsStr) -> std::io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = socket.as_bytes().strip_prefix(b"@") {
        return <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name);
    }
    if socket.as_bytes().starts_with(b"/") {
        return SocketAddr::from_pathname(socket);
    }
    Err(std::io::Error::new(
        std::io::ErrorKind::Unsupported,
        "NOTIFY_SOCKET is neither a path nor an abstract name",
    ))
}

/// A line break would begin another assignment.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn manager() -> (tempfile::TempDir, std::path::PathBuf, UnixDatagram) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        (dir, path, socket)
    }

    fn told(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 1024];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn states_are_told() {
        let (_dir, path, socket) = manager();
        let systemd = Systemd::at(path.as_os_str(), Some(Duration::from_secs(30)));
        assert_eq!(systemd.watchdog_interval(), Some(Duration::from_secs(15)));
        systemd.ready("watching 3 sources");
        assert_eq!(told(&socket), "READY=1\nSTATUS=watching 3 sources");
        systemd.reloading();
        let reloading = told(&socket);
        let at = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(at.parse::<u64>().unwrap() > 0, "{reloading}");
        systemd.status("a\nREADY=0");
        assert_eq!(told(&socket), "STATUS=a READY=0");
        systemd.alive();
        assert_eq!(told(&socket), "WATCHDOG=1");
        systemd.stopping("finishing");
        assert_eq!(told(&socket), "STOPPING=1\nSTATUS=finishing");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn abstract_names_are_sockets_too() {
        let name = format!("heartbeat-test-{}", uuid::Uuid::new_v4());
        let address = <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Systemd::at(OsStr::new(&format!("@{name}")), None).alive();
        assert_eq!(told(&socket), "WATCHDOG=1");
    }

    #[test]
    fn nobody_is_told_without_a_socket_that_can_be_used() {
        for systemd in [
            Systemd::default(),
            Systemd::at(OsStr::new("vsock:2:1"), Some(Duration::from_secs(1))),
            Systemd::at(OsStr::new(""), None),
        ] {
            systemd.ready("nobody hears it");
            assert_eq!(systemd.watchdog_interval(), None);
        }
        // A manager that went away is only logged.
        Systemd::at(OsStr::new("/no/such/socket"), None).alive();
    }

    #[test]
    fn the_environment_says_who_is_told() {
        let (_dir, path, socket) = manager();
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "systemd::tests::child_of_the_environment", "--ignored"])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "8000000")
            .env_remove("WATCHDOG_PID")
            .output()
            .unwrap();
        assert!(status.status.success(), "{status:?}");
        assert_eq!(told(&socket), "READY=1\nSTATUS=4s");
    }

    #[test]
    #[ignore = "started by the_environment_says_who_is_told"]
    fn child_of_the_environment() {
        let systemd = Systemd::from_env();
        if let Some(interval) = systemd.watchdog_interval() {
            systemd.ready(&format!("{interval:?}"));
        }
    }
}
