//! One connection to one broker: frames, correlation ids, versions, throttling. It knows nothing of topics.
//!
//! A connection carries one request at a time. Whoever drops a call half way must drop the connection with it:
//! its stream then stands in the middle of an answer. [`super::cluster`] sees to that by taking the connection
//! out of its map for the time of a call.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;

use super::error::ClientError;
use super::security::{self, Access, Loaded, SecurityError};

/// Largest answer taken, in bytes. Kafka's own limit for a request, and with it for a record batch, is
/// `socket.request.max.bytes` = 100 MiB; a larger one is no Kafka broker.
pub(super) const MAX_FRAME: usize = (100 << 20) + (64 << 10);

const CLIENT_ID: StrBytes = StrBytes::from_static_str("heartbeat");

/// Versions of one request that we can build and judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Supported {
    /// Name, for messages.
    pub(super) name: &'static str,
    /// Oldest: the first one that carries what exact answers need.
    pub(super) min: i16,
    /// Newest that was tried.
    pub(super) max: i16,
}

/// A request that is encoded once and sent many times.
#[derive(Debug)]
pub(super) struct Encoded {
    version: i16,
    answer_header: i16,
    /// Length, API key, version, correlation id, and the rest.
    frame: BytesMut,
}

impl Encoded {
    /// Encodes a request in a version that the broker speaks.
    pub(super) fn new<R: Request>(version: i16, request: &R) -> Result<Self, String> {
        let answer_header = R::Response::header_version(version);
        Ok(Self { version, answer_header, frame: encode(version, request)? })
    }

    /// Its version, which is that of its answer.
    pub(super) fn version(&self) -> i16 {
        self.version
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// A connection that was not used for so long may have been cut off on its way without a word: load balancers forget
/// after some four minutes.
const IDLE: Duration = Duration::from_secs(220);

/// Share of a session after which it is begun anew.
const SESSION_SHARE: f64 = 0.8;

/// An open connection whose versions are known, logged in.
pub(super) struct Connection {
    address: String,
    stream: Box<dyn Stream>,
    versions: HashMap<i16, (i16, i16)>,
    correlation_id: i32,
    not_before: Option<Instant>,
    access: Arc<Access>,
    loaded: Arc<Loaded>,
    /// Answers so far: a connection that breaks off at the beginning does so for its own reasons.
    answers: u32,
    last_used: Instant,
    /// When its session is nearly over (KIP-368).
    renew_at: Option<Instant>,
}

impl Connection {
    /// Connects, makes the connection safe, asks for the versions of the broker and logs in. Where changed credentials
    /// are refused, those that got in before are used.
    pub(super) async fn open(
        address: &str,
        access: &Arc<Access>,
        deadline: Instant,
    ) -> Result<Self, ClientError> {
        let not_ready = |_| ClientError::NotReady { address: address.to_owned(), what: access.reading() };
        let loaded = timeout_at(deadline.into(), access.load()).await.map_err(not_ready)?;
        let loaded = loaded.map_err(|cause| unsafe_because(address, cause))?;
        let opened = match Self::open_with(address, access, &loaded, deadline).await {
            Err(error) if error.is_refusal() => match access.instead_of(&loaded, &error) {
                Some(before) => {
                    let opened = Self::open_with(address, access, &before, deadline).await;
                    // What was changed is what is looked at by whoever mends it.
                    opened.map_err(|other| if other.is_refusal() { error } else { other })
                }
                None => Err(error),
            },
            opened => opened,
        };
        let connection = opened?;
        access.opened(&connection.loaded);
        Ok(connection)
    }

    async fn open_with(
        address: &str,
        access: &Arc<Access>,
        loaded: &Arc<Loaded>,
        deadline: Instant,
    ) -> Result<Self, ClientError> {
        let stream = connect(address, loaded, deadline).await?;
        let mut connection = Self {
            address: address.to_owned(),
            stream,
            versions: HashMap::new(),
            correlation_id: 0,
            not_before: None,
            access: Arc::clone(access),
            loaded: Arc::clone(loaded),
            answers: 0,
            last_used: Instant::now(),
            renew_at: None,
        };
        // Version 0 is the one that every broker answers in the layout that was asked for (KIP-511).
        let answer = connection.call(0, &ApiVersionsRequest::default(), deadline).await?;
        if answer.error_code != 0 {
            return Err(connection.bad(format!("ApiVersions: error code {}", answer.error_code)));
        }
        connection.versions = answer
            .api_keys
            .into_iter()
            .map(|key| (key.api_key, (key.min_version, key.max_version)))
            .collect();
        if let Some(credentials) = &loaded.sasl {
            let lifetime = security::login(&mut connection, credentials, deadline).await;
            if let Err(ClientError::Security { .. }) = &lifetime {
                access.doubt_secrets();
            }
            connection.renew_at = lifetime?.map(|lifetime| Instant::now() + lifetime.mul_f64(SESSION_SHARE));
        }
        Ok(connection)
    }

    /// Whether another connection should be opened in its place before the next request: its session or its stores
    /// are no longer those of now, or it was idle for too long.
    pub(super) fn is_outdated(&self) -> bool {
        self.renew_at.is_some_and(|at| Instant::now() >= at)
            || self.last_used.elapsed() >= IDLE
            || self.access.is_outdated(self.loaded.generation)
    }

    /// The host, without its port.
    pub(super) fn host(&self) -> &str {
        host_of(&self.address)
    }

    /// The newest version of the request `R` that both sides speak.
    pub(super) fn version<R: Request>(&self, ours: Supported) -> Result<i16, ClientError> {
        choose(self.versions.get(&R::KEY).copied(), ours).ok_or_else(|| ClientError::Unsupported {
            address: self.address.clone(),
            api: ours.name,
            theirs: match self.versions.get(&R::KEY) {
                Some((min, max)) => format!("v{min} to v{max}"),
                None => "not at all".to_owned(),
            },
            ours: format!("v{} to v{}", ours.min, ours.max),
        })
    }

    /// Sends one request and waits for its answer.
    pub(super) async fn call<R: Request>(
        &mut self,
        version: i16,
        request: &R,
        deadline: Instant,
    ) -> Result<R::Response, ClientError> {
        let mut request = Encoded::new(version, request).map_err(|problem| self.bad(problem))?;
        let answer = self.send(&mut request, deadline).await?;
        decode::<R>(answer, version).map_err(|problem| self.bad(problem))
    }

    /// Sends a request that was encoded before and waits for its answer, which is returned without its header.
    pub(super) async fn send(
        &mut self,
        request: &mut Encoded,
        deadline: Instant,
    ) -> Result<Bytes, ClientError> {
        self.wait_while_throttled(deadline).await?;
        self.correlation_id = self.correlation_id.wrapping_add(1);
        request.frame[8..12].copy_from_slice(&self.correlation_id.to_be_bytes());
        let mut answer = self.exchange(&request.frame, deadline).await?.freeze();
        open_answer(&mut answer, self.correlation_id, request.answer_header)
            .map_err(|problem| self.bad(problem))?;
        Ok(answer)
    }

    async fn exchange(&mut self, frame: &[u8], deadline: Instant) -> Result<BytesMut, ClientError> {
        let answer = match timeout_at(deadline.into(), exchange(&mut self.stream, frame)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(source)) => return Err(self.broken(source)),
            Err(_elapsed) => return Err(ClientError::Timeout { address: self.address.clone() }),
        };
        self.answers += 1;
        self.last_used = Instant::now();
        Ok(answer)
    }

    /// Whether the broker has told to wait for longer than until then.
    pub(super) fn is_throttled_beyond(&self, deadline: Instant) -> bool {
        self.not_before.is_some_and(|instant| instant >= deadline)
    }

    async fn wait_while_throttled(&mut self, deadline: Instant) -> Result<(), ClientError> {
        if let Some(instant) = self.not_before.take() {
            if instant >= deadline {
                self.not_before = Some(instant);
                return Err(ClientError::Timeout { address: self.address.clone() });
            }
            tokio::time::sleep_until(instant.into()).await;
        }
        Ok(())
    }

    /// Obeys `throttle_time_ms` of an answer: the next request waits that long (KIP-219).
    pub(super) fn throttle(&mut self, milliseconds: i32) {
        if let Ok(wait @ 1..) = u64::try_from(milliseconds) {
            tracing::debug!(address = self.address, milliseconds, "throttled by the broker");
            self.not_before = Some(Instant::now() + Duration::from_millis(wait));
        }
    }

    /// The connection cannot be made safe, or the login failed.
    pub(super) fn unsafe_because(&self, cause: SecurityError) -> ClientError {
        unsafe_because(&self.address, cause)
    }

    /// Waits for something that the login takes and that somebody else than the broker has.
    pub(super) async fn need<T>(
        &self,
        what: impl FnOnce() -> String,
        work: impl Future<Output = Result<T, SecurityError>>,
        deadline: Instant,
    ) -> Result<T, ClientError> {
        match timeout_at(deadline.into(), work).await {
            Ok(done) => done.map_err(|cause| self.unsafe_because(cause)),
            Err(_elapsed) => Err(ClientError::NotReady { address: self.address.clone(), what: what() }),
        }
    }

    fn broken(&self, source: io::Error) -> ClientError {
        broken(&self.address, &self.loaded, self.answers, source)
    }

    /// An answer that cannot be used.
    pub(super) fn bad(&self, problem: String) -> ClientError {
        ClientError::BadAnswer { address: self.address.clone(), problem }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("address", &self.address).finish_non_exhaustive()
    }
}

async fn connect(address: &str, loaded: &Loaded, deadline: Instant) -> Result<Box<dyn Stream>, ClientError> {
    let late = |address: String| move |_| ClientError::Timeout { address };
    let io = |source| ClientError::Io { address: address.to_owned(), source };
    let refused = |problem: String| unsafe_because(address, SecurityError::Refused(problem));
    let stream = timeout_at(deadline.into(), TcpStream::connect(address)).await;
    let stream = stream.map_err(late(address.to_owned()))?.map_err(io)?;
    stream.set_nodelay(true).map_err(io)?;
    let Some(tls) = &loaded.tls else { return Ok(Box::new(stream)) };
    let host = host_of(address);
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| refused(format!("`{host}` is no name that a certificate can be for")))?;
    let connector = TlsConnector::from(tls.config());
    let shaken = timeout_at(deadline.into(), connector.connect(name, stream)).await;
    match shaken.map_err(late(format!("{address}, in the TLS handshake,")))? {
        Ok(stream) => Ok(Box::new(stream)),
        Err(source) => Err(match tls_error(&source) {
            Some(error) => refused(tls.explain(error)),
            None if is_closed(&source) => refused(
                "the connection was closed during the TLS handshake: is this a PLAINTEXT or SASL_PLAINTEXT port?"
                    .to_owned(),
            ),
            None => io(source),
        }),
    }
}

fn unsafe_because(address: &str, cause: SecurityError) -> ClientError {
    ClientError::Security { address: address.to_owned(), cause: Box::new(cause) }
}

/// What a connection that broke off means.
fn broken(address: &str, loaded: &Loaded, answers: u32, source: io::Error) -> ClientError {
    let refused = |problem: String| unsafe_because(address, SecurityError::Refused(problem));
    match (&loaded.tls, tls_error(&source)) {
        (Some(tls), Some(error)) => refused(tls.explain(error)),
        // With TLS 1.3 a broker judges our certificate when for us the handshake is over, and its word may get lost.
        (Some(tls), None) if answers == 0 && is_closed(&source) => refused(if tls.shows_certificate() {
            "the broker closed the connection right after the TLS handshake: it may not trust our certificate".to_owned()
        } else {
            "the broker closed the connection right after the TLS handshake: it may require a client certificate (`kafka_ssl_keystore_location`)".to_owned()
        }),
        (None, _) if source.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<SpeaksTls>) => {
            refused(format!("{SpeaksTls}: set `security.protocol` to SSL or SASL_SSL"))
        }
        (None, _) if answers == 0 && is_closed(&source) => refused(
            "the broker closed the connection on the first request: this may be a TLS port (`security.protocol`)".to_owned(),
        ),
        (_, None) if answers == 1 && loaded.sasl.is_none() && is_closed(&source) => refused(
            "the broker closed the connection on the first request: it may want a login (`security.protocol` SASL_SSL, `sasl.mechanism`)".to_owned(),
        ),
        _ => ClientError::Io { address: address.to_owned(), source },
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

/// `host:port`, `[::1]:port`.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// What answers begins as a TLS alert does.
#[derive(Debug, thiserror::Error)]
#[error("what answers speaks TLS, and plain text was spoken to it")]
struct SpeaksTls;

async fn exchange(stream: &mut Box<dyn Stream>, frame: &[u8]) -> io::Result<BytesMut> {
    let sent = async {
        stream.write_all(frame).await?;
        stream.flush().await
    };
    if let Err(error) = sent.await {
        // Whoever hangs up may have said why.
        return Err(match read_frame(stream).await {
            Err(told) if told.get_ref().is_some() => told,
            _ => error,
        });
    }
    read_frame(stream).await
}

/// Reads one length-prefixed frame. Memory grows with what arrives, not with what the length promises.
async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<BytesMut> {
    let length = stream.read_i32().await?;
    if matches!(length.to_be_bytes(), [0x15, 3, 0..=4, _]) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, SpeaksTls));
    }
    let length = usize::try_from(length).ok().filter(|length| *length <= MAX_FRAME).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of {length} bytes: what answers is no Kafka broker"),
        )
    })?;
    let mut frame = BytesMut::with_capacity(length.min(1 << 20));
    let mut rest = stream.take(length as u64);
    while frame.len() < length {
        if rest.read_buf(&mut frame).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(frame)
}

fn choose(theirs: Option<(i16, i16)>, ours: Supported) -> Option<i16> {
    let (min, max) = theirs?;
    let version = max.min(ours.max);
    (version >= min.max(ours.min)).then_some(version)
}

/// A frame; its correlation id is yet to be set.
fn encode<R: Request>(version: i16, request: &R) -> Result<BytesMut, String> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_client_id(Some(CLIENT_ID));
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    header.encode(&mut frame, R::header_version(version)).map_err(|error| error.to_string())?;
    request.encode(&mut frame, version).map_err(|error| error.to_string())?;
    let length = i32::try_from(frame.len() - 4).map_err(|_| "the request is too large".to_owned())?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

/// The body of an answer.
pub(super) fn decode<R: Request>(mut answer: Bytes, version: i16) -> Result<R::Response, String> {
    R::Response::decode(&mut answer, version).map_err(|error| error.to_string())
}

/// Takes the header off an answer.
fn open_answer(answer: &mut Bytes, correlation_id: i32, header_version: i16) -> Result<(), String> {
    let header = ResponseHeader::decode(answer, header_version)
        .map_err(|error| format!("no response header: {error}"))?;
    if header.correlation_id == correlation_id {
        return Ok(());
    }
    Err(format!("correlation id {} instead of {correlation_id}", header.correlation_id))
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::ApiVersionsResponse;
    use rstest::rstest;

    use super::*;

    const OURS: Supported = Supported { name: "ListOffsets", min: 2, max: 9 };

    #[rstest]
    #[case::newer_broker(Some((1, 11)), Some(9))]
    #[case::older_broker(Some((0, 4)), Some(4))]
    #[case::just_old_enough(Some((0, 2)), Some(2))]
    #[case::too_old(Some((0, 1)), None)]
    #[case::dropped_ours(Some((10, 12)), None)]
    #[case::unknown_request(None, None)]
    fn version_is_the_newest_that_both_speak(
        #[case] theirs: Option<(i16, i16)>,
        #[case] expected: Option<i16>,
    ) {
        assert_eq!(choose(theirs, OURS), expected);
    }

    #[test]
    fn answer_of_another_request_is_refused() {
        let mut bytes = BytesMut::new();
        bytes.put_i32(7);
        ApiVersionsResponse::default().encode(&mut bytes, 0).unwrap();
        let read = |bytes: BytesMut, correlation_id: i32| {
            let mut answer = bytes.freeze();
            open_answer(&mut answer, correlation_id, 0)?;
            decode::<ApiVersionsRequest>(answer, 0)
        };
        assert!(read(bytes.clone(), 7).is_ok());
        assert!(read(bytes.clone(), 8).unwrap_err().contains("correlation id 7"));
        bytes.truncate(5);
        assert!(read(bytes, 7).is_err());
    }

    #[tokio::test]
    async fn frames_that_are_too_long_or_broken_off_are_refused() {
        let mut http: &[u8] = b"HTTP/1.1 400 Bad Request";
        assert_eq!(read_frame(&mut http).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let mut short: &[u8] = &[0, 0, 0, 9, 1, 2];
        assert_eq!(read_frame(&mut short).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
