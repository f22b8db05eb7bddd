//! A broker on loan to whoever asks it: connects when it has to, and again where a connection broke while it was idle.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use kafka_protocol::protocol::Request;

use super::connection::{Connection, Encoded, Supported, decode};
use super::error::ClientError;
use super::security::Access;

/// A connection on loan: whoever drops it half way through a call closes it.
#[derive(Debug)]
pub(super) struct Line {
    address: String,
    security: Arc<Access>,
    connection: Option<Connection>,
}

impl Line {
    /// To a broker, over the connection that there is already, if there is one.
    pub(super) fn new(address: &str, security: &Arc<Access>, connection: Option<Connection>) -> Self {
        Self { address: address.to_owned(), security: Arc::clone(security), connection }
    }

    /// The address, and the connection for whoever asks next.
    pub(super) fn into_parts(self) -> (String, Option<Connection>) {
        (self.address, self.connection)
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn is_open(&self) -> bool {
        self.connection.is_some()
    }

    /// Sends one request, connecting first if need be, and returns the answer with its version.
    pub(super) async fn call<R: Request>(
        &mut self,
        ours: Supported,
        deadline: Instant,
        build: impl FnOnce(i16) -> R,
    ) -> Result<(R::Response, i16), ClientError> {
        self.obeys(deadline)?;
        let version = self.version::<R>(ours, deadline).await?;
        let mut request = Encoded::new(version, &build(version)).map_err(|problem| self.bad(problem))?;
        let answer = self.send(&mut request, deadline).await?;
        let answer = decode::<R>(answer, version).map_err(|problem| self.bad(problem))?;
        Ok((answer, version))
    }

    /// The newest version of the request `R` that both sides speak, connecting first if need be.
    pub(super) async fn version<R: Request>(
        &mut self,
        ours: Supported,
        deadline: Instant,
    ) -> Result<i16, ClientError> {
        let connection = match self.current() {
            Some(connection) => connection,
            None => self.open(deadline).await?,
        };
        self.connection.insert(connection).version::<R>(ours)
    }

    /// Sends a request that was encoded before, connecting first if need be. A connection that broke while it was not
    /// used, as brokers close idle ones, is opened anew.
    pub(super) async fn send(
        &mut self,
        request: &mut Encoded,
        deadline: Instant,
    ) -> Result<Bytes, ClientError> {
        self.obeys(deadline)?;
        if let Some(mut connection) = self.current() {
            match connection.send(request, deadline).await {
                Ok(answer) => {
                    self.connection = Some(connection);
                    return Ok(answer);
                }
                Err(ClientError::Io { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let mut connection = self.open(deadline).await?;
        let answer = connection.send(request, deadline).await?;
        self.connection = Some(connection);
        Ok(answer)
    }

    pub(super) fn throttle(&mut self, milliseconds: i32) {
        if let Some(connection) = &mut self.connection {
            connection.throttle(milliseconds);
        }
    }

    /// An answer that cannot be used; its connection is not used again.
    pub(super) fn bad(&mut self, problem: String) -> ClientError {
        self.connection = None;
        ClientError::BadAnswer { address: self.address.clone(), problem }
    }

    /// The connection, unless another one is to be opened in its place.
    fn current(&mut self) -> Option<Connection> {
        self.connection.take().filter(|open| !open.is_outdated())
    }

    async fn open(&self, deadline: Instant) -> Result<Connection, ClientError> {
        Connection::open(&self.address, &self.security, deadline).await
    }

    /// A request that the broker has told to wait for longer than there is time is not sent, and its connection kept.
    fn obeys(&self, deadline: Instant) -> Result<(), ClientError> {
        match &self.connection {
            Some(open) if open.is_throttled_beyond(deadline) => {
                Err(ClientError::Timeout { address: self.address.clone() })
            }
            _ => Ok(()),
        }
    }
}
