//! The answer to a ListOffsets request, read where it lies: tens of thousands of partitions without an allocation.
//!
//! The layout is that of Kafka's message definition `ListOffsetsResponse.json`, versions 2 to 10. The tests hold it
//! against the generated decoder.

use bytes::{Buf, Bytes};

use super::error::Code;
use super::offsets::Told;

/// From this version on lengths are varints and structures end with tagged fields (KIP-482).
const FLEXIBLE: i16 = 6;
/// From this version on the leader epoch is told (KIP-320).
const WITH_EPOCH: i16 = 4;

/// What one partition's entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) partition: i32,
    pub(super) told: Result<Told, Code>,
}

/// Reads an answer without its header. `topic` is called for each topic and returns what `partition` is called with for
/// each of its entries; both may refuse. Returns `throttle_time_ms`.
pub(super) fn read_answer<T: Copy>(
    version: i16,
    body: &Bytes,
    mut topic: impl FnMut(&str) -> Result<T, String>,
    mut partition: impl FnMut(T, Entry) -> Result<(), String>,
) -> Result<i32, String> {
    let mut bytes = Reader { rest: body, flexible: version >= FLEXIBLE };
    let throttle = bytes.i32()?;
    for _ in 0..bytes.length()? {
        let name = bytes.text()?;
        let own = topic(name)?;
        for _ in 0..bytes.length()? {
            let index = bytes.i32()?;
            let code = bytes.i16()?;
            let _timestamp = bytes.i64()?;
            let offset = bytes.i64()?;
            let epoch =
                if version >= WITH_EPOCH { Some(bytes.i32()?).filter(|epoch| *epoch >= 0) } else { None };
            bytes.tags()?;
            let told = Code::check(code).map(|()| Told { offset, epoch });
            if told.is_ok() && offset < 0 {
                return Err(format!("no offset for `{name}` partition {index}"));
            }
            partition(own, Entry { partition: index, told })?;
        }
        bytes.tags()?;
    }
    bytes.tags()?;
    if bytes.rest.is_empty() { Ok(throttle) } else { Err(format!("{} bytes too many", bytes.rest.len())) }
}

/// Bytes that may end too early.
struct Reader<'a> {
    rest: &'a [u8],
    flexible: bool,
}

const CUT_OFF: &str = "the answer is cut off";

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(CUT_OFF)?;
        self.rest = rest;
        Ok(taken)
    }

    fn i16(&mut self) -> Result<i16, String> {
        self.rest.try_get_i16().map_err(|_| CUT_OFF.to_owned())
    }

    fn i32(&mut self) -> Result<i32, String> {
        self.rest.try_get_i32().map_err(|_| CUT_OFF.to_owned())
    }

    fn i64(&mut self) -> Result<i64, String> {
        self.rest.try_get_i64().map_err(|_| CUT_OFF.to_owned())
    }

    fn varint(&mut self) -> Result<usize, String> {
        let mut value = 0_usize;
        for shift in (0..35).step_by(7) {
            let byte = self.rest.try_get_u8().map_err(|_| CUT_OFF.to_owned())?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a length of more than five bytes".to_owned())
    }

    /// Length of an array.
    fn length(&mut self) -> Result<usize, String> {
        if self.flexible {
            return Ok(self.varint()?.saturating_sub(1));
        }
        Ok(usize::try_from(self.i32()?).unwrap_or(0))
    }

    fn text(&mut self) -> Result<&'a str, String> {
        let length = if self.flexible {
            self.varint()?.checked_sub(1).ok_or("a topic without a name")?
        } else {
            usize::try_from(self.i16()?).map_err(|_| "a topic without a name")?
        };
        std::str::from_utf8(self.take(length)?).map_err(|_| "a topic whose name is no text".to_owned())
    }

    fn tags(&mut self) -> Result<(), String> {
        if self.flexible {
            for _ in 0..self.varint()? {
                self.varint()?;
                let length = self.varint()?;
                self.take(length)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::list_offsets_response::{
        ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
    };
    use kafka_protocol::messages::{ListOffsetsResponse, TopicName};
    use kafka_protocol::protocol::{Encodable, StrBytes};
    use proptest::prelude::*;

    use super::*;

    type Topics = Vec<(String, Vec<(i32, i16, i64, i32)>)>;

    fn response(throttle: i32, topics: &Topics) -> ListOffsetsResponse {
        let topics = topics.iter().map(|(name, partitions)| {
            let partitions = partitions.iter().map(|(partition, code, offset, epoch)| {
                ListOffsetsPartitionResponse::default()
                    .with_partition_index(*partition)
                    .with_error_code(*code)
                    .with_timestamp(-1)
                    .with_offset(*offset)
                    .with_leader_epoch(*epoch)
            });
            ListOffsetsTopicResponse::default()
                .with_name(TopicName(StrBytes::from_string(name.clone())))
                .with_partitions(partitions.collect())
        });
        ListOffsetsResponse::default().with_throttle_time_ms(throttle).with_topics(topics.collect())
    }

    fn encoded(response: &ListOffsetsResponse, version: i16) -> Bytes {
        let mut bytes = BytesMut::new();
        response.encode(&mut bytes, version).unwrap();
        bytes.freeze()
    }

    fn read(version: i16, bytes: &Bytes) -> Result<(i32, Vec<(String, Entry)>), String> {
        let names = std::cell::RefCell::new(Vec::new());
        let mut entries = Vec::new();
        let throttle = read_answer(
            version,
            bytes,
            |name| {
                names.borrow_mut().push(name.to_owned());
                Ok(names.borrow().len() - 1)
            },
            |topic, entry| {
                entries.push((names.borrow()[topic].clone(), entry));
                Ok(())
            },
        )?;
        Ok((throttle, entries))
    }

    proptest! {
        #[test]
        fn reads_what_the_generated_encoder_writes(
            version in 4_i16..=10,
            throttle in 0..1000,
            topics in prop::collection::vec(
                ("[a-z.]{1,200}", prop::collection::vec((0..500_i32, prop_oneof![Just(0_i16), Just(6), Just(29)], 0..i64::MAX, -1..9_i32), 0..5)),
                0..5,
            ),
        ) {
            let bytes = encoded(&response(throttle, &topics), version);
            let (told, entries) = read(version, &bytes).unwrap();
            prop_assert_eq!(told, throttle);
            let expected: Vec<_> = topics.iter().flat_map(|(name, partitions)| {
                partitions.iter().map(|(partition, code, offset, epoch)| {
                    let epoch = Some(*epoch).filter(|epoch| *epoch >= 0);
                    let told = Code::check(*code).map(|()| Told { offset: *offset, epoch });
                    (name.clone(), Entry { partition: *partition, told })
                })
            }).collect();
            prop_assert_eq!(entries, expected);
            for length in 0..bytes.len() {
                prop_assert!(read(version, &bytes.slice(..length)).is_err(), "cut off at {}", length);
            }
        }

        #[test]
        fn any_bytes_end_in_an_answer_or_an_error(version in 2_i16..=10, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(version, &Bytes::from(bytes));
        }
    }

    #[test]
    fn old_brokers_tell_no_epoch() {
        let bytes = encoded(&response(0, &vec![("a".to_owned(), vec![(1, 0, 5, -1)])]), 2);
        let told = Ok(Told { offset: 5, epoch: None });
        assert_eq!(read(2, &bytes), Ok((0, vec![("a".to_owned(), Entry { partition: 1, told })])));
        let without = encoded(&response(0, &vec![("a".to_owned(), vec![(1, 0, -1, -1)])]), 4);
        assert!(read(4, &without).unwrap_err().contains("no offset for `a` partition 1"));
    }
}
