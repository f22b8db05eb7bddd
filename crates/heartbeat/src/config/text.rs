//! Values that are written as text: one parser each, for the schema's check and for reading.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use heartbeat_core::schedule::{Cron, SHORTEST_PERIOD};
use heartbeat_core::table_name::problem_of_table_at;
use heartbeat_core::time_span;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A kind of value. Problems never repeat the text: it could be a secret in the wrong place.
pub(super) trait Format: Sized {
    /// Name of the kind in the schema's `format`.
    const NAME: &'static str;
    /// Values as they may be written.
    const EXAMPLES: &'static [&'static str];

    /// Reads it, or says what it must be.
    fn parse(text: &str) -> Result<Self, String>;

    /// Writes it as it is read.
    fn show(&self) -> String;
}

/// A value that is written as text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Text<T>(pub(super) T);

/// What is wrong with a text of a format that the schema names; nothing for formats that are not ours.
pub(super) fn problem(format: &str, text: &str) -> Option<String> {
    match format {
        Period::NAME => Period::parse(text).err(),
        Length::NAME => Length::parse(text).err(),
        ByteSize::NAME => ByteSize::parse(text).err(),
        Listen::NAME => Listen::parse(text).err(),
        Location::NAME => Location::parse(text).err(),
        TimeOfDay::NAME => TimeOfDay::parse(text).err(),
        Days::NAME => Days::parse(text).err(),
        <Cron as Format>::NAME => <Cron as Format>::parse(text).err(),
        <TimeZone as Format>::NAME => <TimeZone as Format>::parse(text).err(),
        _ => None,
    }
}

/// Time between two beginnings, at least [`SHORTEST_PERIOD`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period(pub(super) Duration);

impl Format for Period {
    const NAME: &'static str = "period";
    const EXAMPLES: &'static [&'static str] = &["500ms", "5s", "10m"];

    fn parse(text: &str) -> Result<Self, String> {
        let period = time_span::parse(text).filter(|period| *period >= SHORTEST_PERIOD);
        period
            .map(Self)
            .ok_or_else(|| "must be a period of at least `100ms`, such as `5s` or `10m`".to_owned())
    }

    fn show(&self) -> String {
        time_span::show(self.0)
    }
}

/// A length of time, longer than nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Length(pub(super) Duration);

impl Format for Length {
    const NAME: &'static str = "length-of-time";
    const EXAMPLES: &'static [&'static str] = &["10s", "90d"];

    fn parse(text: &str) -> Result<Self, String> {
        let length = time_span::parse(text);
        length
            .map(Self)
            .ok_or_else(|| "must be a length of time, such as `10s`, `1h 30m` or `90d`".to_owned())
    }

    fn show(&self) -> String {
        time_span::show(self.0)
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ByteSize(pub(super) u64);

const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

impl Format for ByteSize {
    const NAME: &'static str = "byte-size";
    const EXAMPLES: &'static [&'static str] = &["256MiB", "2GiB"];

    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let read = UNITS.iter().find_map(|(unit, shift)| {
            let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
            number.checked_mul(1 << shift).filter(|bytes| *bytes > 0)
        });
        read.map(Self).ok_or_else(|| "must be a size in KiB, MiB, GiB or TiB, such as `256MiB`".to_owned())
    }

    fn show(&self) -> String {
        let unit = UNITS.iter().find(|(_, shift)| self.0.trailing_zeros() >= *shift);
        unit.map_or_else(|| self.0.to_string(), |(unit, shift)| format!("{}{unit}", self.0 >> shift))
    }
}

/// An address to listen on, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listen(pub(super) Option<SocketAddr>);

impl Default for Listen {
    fn default() -> Self {
        Self(Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 8787))))
    }
}

impl Format for Listen {
    const NAME: &'static str = "listen-address";
    const EXAMPLES: &'static [&'static str] = &["127.0.0.1:8787", "[::1]:8787", "off"];

    fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            "off" => Ok(Self(None)),
            address => address.parse().map(|address| Self(Some(address))).map_err(|_| {
                "must be an address and a port, such as `127.0.0.1:8787` or `[::]:8787`, or `off`".to_owned()
            }),
        }
    }

    fn show(&self) -> String {
        self.0.map_or_else(|| "off".to_owned(), |address| address.to_string())
    }
}

/// A path or URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location(pub(super) String);

impl Format for Location {
    const NAME: &'static str = "location";
    const EXAMPLES: &'static [&'static str] =
        &["warehouse", "file:///srv/warehouse", "s3://bucket/warehouse"];

    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("must not be empty".to_owned());
        }
        problem_of_table_at(text).map_or_else(|| Ok(Self(text.to_owned())), Err)
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// A local time to the minute. 24:00 is the midnight that ends a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimeOfDay {
    /// Midnight for both 00:00 and 24:00: a window that ends there ends on the next day.
    pub(super) time: Time,
    ends_day: bool,
}

impl TimeOfDay {
    pub(super) const BEGIN: Self = Self { time: Time::midnight(), ends_day: false };
    pub(super) const END: Self = Self { time: Time::midnight(), ends_day: true };
}

impl Format for TimeOfDay {
    const NAME: &'static str = "time-of-day";
    const EXAMPLES: &'static [&'static str] = &["06:00", "22:30", "24:00"];

    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "24:00" {
            return Ok(Self::END);
        }
        let read = || {
            let (hour, minute) = text.split_once(':')?;
            let plain = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            let time = Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()?;
            (plain(hour) && plain(minute)).then_some(Self { time, ends_day: false })
        };
        read().ok_or_else(|| "must be a time of day in quotes, from `\"00:00\"` to `\"24:00\"`".to_owned())
    }

    fn show(&self) -> String {
        if self.ends_day { "24:00".to_owned() } else { self.time.strftime("%H:%M").to_string() }
    }
}

/// Days of the week, Monday first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Days(pub(super) Vec<Weekday>);

const DAY_NAMES: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

impl Days {
    pub(super) fn every() -> Self {
        Self(DAY_NAMES.map(|(_, day)| day).to_vec())
    }
}

impl Format for Days {
    const NAME: &'static str = "days";
    const EXAMPLES: &'static [&'static str] = &["mon-fri", "sat,sun"];

    fn parse(text: &str) -> Result<Self, String> {
        let position = |name: &str| {
            let name = name.trim().to_ascii_lowercase();
            DAY_NAMES.iter().position(|(short, _)| *short == name)
        };
        let mut named = [false; 7];
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Some(first), Some(last)) = (position(first), position(last)) else {
                return Err("must be days of the week, such as `mon-fri` or `sat,sun`".to_owned());
            };
            let span = (last + 7 - first) % 7;
            (0..=span).for_each(|day| named[(first + day) % 7] = true);
        }
        Ok(Self((0..7).filter(|day| named[*day]).map(|day| DAY_NAMES[day].1).collect()))
    }

    fn show(&self) -> String {
        if *self == Self::every() {
            return "mon-sun".to_owned();
        }
        let mut text = String::new();
        for (name, _) in DAY_NAMES.iter().filter(|(_, day)| self.0.contains(day)) {
            let comma = if text.is_empty() { "" } else { "," };
            let _ = write!(text, "{comma}{name}");
        }
        text
    }
}

impl Format for Cron {
    const NAME: &'static str = "cron";
    const EXAMPLES: &'static [&'static str] = &["*/5 6-22 * * mon-fri"];

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|problem| problem.to_string())
    }

    fn show(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Format for TimeZone {
    const NAME: &'static str = "time-zone";
    const EXAMPLES: &'static [&'static str] = &["UTC", "Europe/Berlin"];

    fn parse(text: &str) -> Result<Self, String> {
        Self::get(text.trim()).map_err(|_| {
            "is no time zone that this machine knows; write a name of the IANA list, such as `Europe/Berlin`"
                .to_owned()
        })
    }

    fn show(&self) -> String {
        self.iana_name().unwrap_or("UTC").to_owned()
    }
}

impl<T: Format> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.show())
    }
}

impl<'de, T: Format> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        T::parse(&text).map(Self).map_err(de::Error::custom)
    }
}

impl<T: Format> JsonSchema for Text<T> {
    fn schema_name() -> Cow<'static, str> {
        T::NAME.into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": T::NAME, "examples": T::EXAMPLES})
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("mon-fri", "mon,tue,wed,thu,fri")]
    #[case("sat - mon", "mon,sat,sun")]
    #[case("Sun, wed", "wed,sun")]
    #[case("tue-mon", "mon-sun")]
    fn days(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(Days::parse(text).unwrap().show(), shown);
    }

    #[rstest]
    #[case("1KiB", 1024)]
    #[case("256 MiB", 256 << 20)]
    #[case("2TiB", 2 << 40)]
    fn sizes(#[case] text: &str, #[case] bytes: u64) {
        assert_eq!(ByteSize::parse(text).unwrap().0, bytes);
        assert_eq!(ByteSize::parse(&ByteSize(bytes).show()).unwrap().0, bytes);
    }

    #[rstest]
    #[case("period", "50ms")]
    #[case("byte-size", "256MB")]
    #[case("byte-size", "99999999999TiB")]
    #[case("listen-address", "localhost")]
    #[case("location", "ftp://b/t")]
    #[case("time-of-day", "24:01")]
    #[case("time-of-day", "+6:00")]
    #[case("days", "monday")]
    #[case("days", "")]
    #[case("cron", "x")]
    #[case("time-zone", "Mars/Olympus")]
    fn mistakes(#[case] format: &str, #[case] text: &str) {
        assert!(problem(format, text).is_some());
    }

    #[test]
    fn examples_are_valid_and_written_as_they_are_read() {
        fn holds<T: Format>() {
            for example in T::EXAMPLES {
                let value = T::parse(example).unwrap_or_else(|problem| panic!("{example}: {problem}"));
                assert_eq!(problem(T::NAME, &value.show()), None, "{example}");
                assert_ne!(problem(T::NAME, "\0"), None, "{}", T::NAME);
            }
        }
        holds::<Period>();
        holds::<Length>();
        holds::<ByteSize>();
        holds::<Listen>();
        holds::<TimeOfDay>();
        holds::<Days>();
        holds::<Cron>();
        holds::<TimeZone>();
        assert!(Location::EXAMPLES.iter().all(|example| Location::parse(example).is_ok()));
    }
}
