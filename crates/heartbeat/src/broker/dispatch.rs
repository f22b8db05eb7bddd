//! One request frame of the embedded broker in, one response frame out.

use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, ApiKey, ApiVersionsResponse, CreatePartitionsRequest, CreateTopicsRequest,
    DeleteRecordsRequest, DeleteTopicsRequest, EndTxnRequest, FetchRequest, FindCoordinatorRequest,
    InitProducerIdRequest, ListOffsetsRequest, MetadataRequest, OffsetForLeaderEpochRequest, ProduceRequest,
    RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request};

use super::state::State;
use super::{answer, write};

/// A request that cannot be answered; its connection is closed, as Kafka does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused(pub(super) String);

/// Answers one frame (without its length) with one frame (with its length).
pub(super) fn dispatch(
    state: &mut State,
    served: &[(ApiKey, i16, i16)],
    address: SocketAddr,
    frame: Bytes,
) -> Result<BytesMut, Refused> {
    if frame.len() < 8 {
        return Err(Refused(format!("a request of {} bytes", frame.len())));
    }
    let (key, version) = ((&frame[..]).get_i16(), (&frame[2..]).get_i16());
    let correlation_id = (&frame[4..]).get_i32();
    let range = served.iter().find(|(known, _, _)| *known as i16 == key);
    let &(key, min, max) = range.ok_or_else(|| Refused(format!("request {key} is not served")))?;
    let is_known_version = (min..=max).contains(&version);
    if key == ApiKey::ApiVersions {
        let version = if is_known_version { version } else { 0 };
        return encode::<ApiVersionsResponse>(
            correlation_id,
            version,
            &answer::api_versions(served, is_known_version),
        );
    }
    if !is_known_version {
        return Err(Refused(format!("{key:?} v{version} is not served")));
    }
    let call = Call { version, correlation_id, frame };
    match key {
        ApiKey::Metadata => call.answer(|r: MetadataRequest| answer::metadata(state, &r, address)),
        ApiKey::ListOffsets => call.answer(|r: ListOffsetsRequest| answer::list_offsets(state, &r)),
        ApiKey::OffsetForLeaderEpoch => {
            call.answer(|r: OffsetForLeaderEpochRequest| answer::epoch_ends(state, &r))
        }
        ApiKey::Fetch => call.answer(|r: FetchRequest| answer::fetch(state, &r, version)),
        ApiKey::Produce => call.answer(|r: ProduceRequest| write::produce(state, r)),
        ApiKey::CreateTopics => call.answer(|r: CreateTopicsRequest| write::create_topics(state, r)),
        ApiKey::CreatePartitions => {
            call.answer(|r: CreatePartitionsRequest| write::create_partitions(state, r))
        }
        ApiKey::DeleteTopics => call.answer(|r: DeleteTopicsRequest| write::delete_topics(state, r)),
        ApiKey::DeleteRecords => call.answer(|r: DeleteRecordsRequest| write::delete_records(state, r)),
        ApiKey::FindCoordinator => call.answer(|_: FindCoordinatorRequest| write::find_coordinator(address)),
        ApiKey::InitProducerId => call.answer(|r: InitProducerIdRequest| write::init_producer_id(state, &r)),
        ApiKey::AddPartitionsToTxn => {
            call.answer(|r: AddPartitionsToTxnRequest| write::add_partitions(state, r))
        }
        ApiKey::EndTxn => call.answer(|r: EndTxnRequest| write::end_transaction(state, &r)),
        other => Err(Refused(format!("{other:?} is not served"))),
    }
}

struct Call {
    version: i16,
    correlation_id: i32,
    frame: Bytes,
}

impl Call {
    fn answer<R: Request>(mut self, answer: impl FnOnce(R) -> R::Response) -> Result<BytesMut, Refused> {
        let refused = |error: &dyn std::fmt::Display| Refused(format!("request {}: {error}", R::KEY));
        RequestHeader::decode(&mut self.frame, R::header_version(self.version)).map_err(|e| refused(&e))?;
        let request = R::decode(&mut self.frame, self.version).map_err(|e| refused(&e))?;
        encode(self.correlation_id, self.version, &answer(request))
    }
}

fn encode<T: Encodable + HeaderVersion>(
    correlation_id: i32,
    version: i16,
    body: &T,
) -> Result<BytesMut, Refused> {
    let refused = |error: &dyn std::fmt::Display| Refused(format!("answer: {error}"));
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    header.encode(&mut frame, T::header_version(version)).map_err(|e| refused(&e))?;
    body.encode(&mut frame, version).map_err(|e| refused(&e))?;
    let length = i32::try_from(frame.len() - 4).map_err(|e| refused(&e))?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

/// Versions as an older broker would tell them: nothing above the given ones.
pub(super) fn limit(served: &mut [(ApiKey, i16, i16)], limits: &[(ApiKey, i16)]) {
    for (key, max) in limits {
        for entry in served.iter_mut().filter(|(known, _, _)| known == key) {
            entry.2 = entry.2.min(*max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9092);

    fn ask<R: Request>(state: &mut State, version: i16, request: &R) -> Result<R::Response, Refused> {
        let mut frame = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(7);
        header.encode(&mut frame, R::header_version(version)).unwrap();
        request.encode(&mut frame, version).unwrap();
        let mut answer = dispatch(state, &answer::SERVED, ADDRESS, frame.freeze())?.freeze();
        assert_eq!(answer.get_i32() as usize, answer.len());
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version)).unwrap();
        assert_eq!(header.correlation_id, 7);
        Ok(R::Response::decode(&mut answer, version).unwrap())
    }

    #[test]
    fn every_served_version_of_the_readers_requests_is_answered() {
        let mut state = State::new();
        state.create_topic("t", 2).unwrap();
        for version in 4..=12 {
            let answer = ask(&mut state, version, &MetadataRequest::default().with_topics(None)).unwrap();
            assert_eq!(answer.topics[0].partitions.len(), 2, "metadata v{version}");
        }
        for version in 2..=10 {
            ask(&mut state, version, &ListOffsetsRequest::default()).unwrap();
        }
        for version in 4..=16 {
            ask(&mut state, version, &FetchRequest::default()).unwrap();
        }
    }

    #[test]
    fn what_is_not_served_closes_the_connection() {
        let mut state = State::new();
        assert!(ask(&mut state, 13, &MetadataRequest::default()).is_err());
        let unknown = Bytes::from_static(&[0, 99, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert!(dispatch(&mut state, &answer::SERVED, ADDRESS, unknown).is_err());
        assert!(dispatch(&mut state, &answer::SERVED, ADDRESS, Bytes::from_static(&[0])).is_err());
    }
}
