use jiff::civil::{Time, Weekday, time};
use proptest::prelude::*;
use rstest::rstest;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// New York's rules, without a need for the machine's time zones: forward on 2026-03-08 at 07:00Z, back on 2026-11-01
/// at 06:00Z.
fn new_york() -> TimeZone {
    TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").unwrap()
}

fn cron(text: &str, zone: TimeZone) -> Schedule {
    Schedule::new(Timing::Cron(Cron::parse(text).unwrap()), Vec::new(), zone, &Jitter::NONE).unwrap()
}

fn window(days: &[Weekday], from: Time, to: Time) -> Window {
    Window::new(days.iter().copied(), from, to).unwrap()
}

fn within(period: Duration, windows: Vec<Window>, zone: TimeZone) -> Schedule {
    Schedule::new(Timing::Every(period), windows, zone, &Jitter::NONE).unwrap()
}

const WEEK: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
];

#[rstest]
#[case::in_time("2026-06-01T00:00:00.2Z", "2026-06-01T00:00:01Z", 0)]
#[case::exactly_at_the_next("2026-06-01T00:00:01Z", "2026-06-01T00:00:02Z", 1)]
#[case::late("2026-06-01T00:00:03.5Z", "2026-06-01T00:00:04Z", 3)]
#[case::clock_jumped_forward("2026-06-02T00:00:00Z", "2026-06-02T00:00:01Z", 86_400)]
#[case::clock_jumped_back("2026-05-01T00:00:00Z", "2026-05-01T00:00:01Z", 0)]
#[case::clock_set_back_a_little("2026-05-31T23:59:59.9Z", "2026-06-01T00:00:00.9Z", 0)]
fn period_after_a_check_planned_at_midnight(#[case] now: &str, #[case] next: &str, #[case] missed: u64) {
    let tick = Schedule::every(SECOND).unwrap().next(Some(at("2026-06-01T00:00:00Z")), at(now));
    assert_eq!(tick, Tick { at: at(next), missed });
}

#[rstest]
#[case::plain("*/15 9 * * *", "2026-06-01T13:07:00Z", &["2026-06-01T13:15:00Z", "2026-06-01T13:30:00Z", "2026-06-01T13:45:00Z", "2026-06-02T13:00:00Z"])]
#[case::left_out_by_spring("30 2 * * *", "2026-03-07T12:00:00Z", &["2026-03-08T07:30:00Z", "2026-03-09T06:30:00Z"])]
#[case::frequent_in_spring("*/30 * * * *", "2026-03-08T06:15:00Z", &["2026-03-08T06:30:00Z", "2026-03-08T07:00:00Z", "2026-03-08T07:30:00Z"])]
#[case::repeated_by_autumn("30 1 * * *", "2026-10-31T12:00:00Z", &["2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z", "2026-11-02T06:30:00Z"])]
#[case::frequent_in_autumn("*/30 * * * *", "2026-11-01T05:15:00Z", &["2026-11-01T05:30:00Z", "2026-11-01T06:00:00Z", "2026-11-01T06:30:00Z", "2026-11-01T07:00:00Z"])]
#[case::leap_day("0 0 29 2 *", "2026-03-01T12:00:00Z", &["2028-02-29T05:00:00Z"])]
fn cron_times_in_new_york(#[case] text: &str, #[case] from: &str, #[case] expected: &[&str]) {
    let schedule = cron(text, new_york());
    let mut now = at(from);
    for next in expected {
        let tick = schedule.next(None, now);
        assert_eq!(tick, Tick { at: at(next), missed: 0 });
        now = tick.at;
    }
}

#[test]
fn cron_counts_what_it_missed_and_follows_a_clock_that_went_back() {
    let hourly = cron("0 * * * *", TimeZone::UTC);
    let last = at("2026-06-01T10:00:00Z");
    let tick = hourly.next(Some(last), at("2026-06-01T13:30:00Z"));
    assert_eq!(tick, Tick { at: at("2026-06-01T14:00:00Z"), missed: 3 });
    let back = hourly.next(Some(last), at("2026-06-01T07:30:00Z"));
    assert_eq!(back.at, at("2026-06-01T08:00:00Z"));
    let a_little = hourly.next(Some(last), at("2026-06-01T09:59:59.5Z"));
    assert_eq!(a_little.at, at("2026-06-01T11:00:00Z"));
}

#[rstest]
#[case::before("2026-06-01T05:00:00Z", "2026-06-01T08:00:00Z")]
#[case::opens_now("2026-06-01T08:00:00Z", "2026-06-01T08:00:00.000000001Z")]
#[case::after("2026-06-01T18:00:00Z", "2026-06-02T08:00:00Z")]
#[case::over_the_weekend("2026-06-05T18:00:00Z", "2026-06-08T08:00:00Z")]
fn first_check_waits_for_the_window(#[case] now: &str, #[case] first: &str) {
    let weekdays = &WEEK[..5];
    let windows = vec![window(weekdays, time(8, 0, 0, 0), time(18, 0, 0, 0))];
    assert_eq!(within(SECOND, windows, TimeZone::UTC).next(None, at(now)).at, at(first));
}

#[test]
fn night_window_crosses_midnight_and_belongs_to_the_day_it_begins() {
    let windows = vec![window(&[Weekday::Friday], time(22, 0, 0, 0), time(6, 0, 0, 0))];
    let schedule = within(SECOND, windows, TimeZone::UTC);
    for (text, active) in [
        ("2026-06-05T21:59:59Z", false),
        ("2026-06-05T22:00:00Z", true),
        ("2026-06-06T05:59:59Z", true),
        ("2026-06-06T06:00:00Z", false),
        ("2026-06-05T01:00:00Z", false),
    ] {
        assert_eq!(schedule.is_active(at(text)), active, "{text}");
    }
}

#[test]
fn whole_days_and_several_windows() {
    let midnight = Time::midnight();
    let windows = vec![
        window(&[Weekday::Sunday], midnight, midnight),
        window(&[Weekday::Monday], time(12, 0, 0, 0), midnight),
    ];
    let schedule = within(Duration::from_hours(1), windows, TimeZone::UTC);
    let tick = schedule.next(Some(at("2026-06-06T23:30:00Z")), at("2026-06-08T01:00:00Z"));
    // 24 on Sunday, then Monday noon.
    assert_eq!(tick, Tick { at: at("2026-06-08T12:00:00Z"), missed: 24 });
    assert!(schedule.is_active(at("2026-06-08T23:59:59Z")));
    assert!(!schedule.is_active(at("2026-06-09T00:00:00Z")));
}

#[test]
fn window_that_spring_leaves_out() {
    let sunday = |from, to| vec![window(&[Weekday::Sunday], from, to)];
    let partly = within(SECOND, sunday(time(2, 30, 0, 0), time(3, 30, 0, 0)), new_york());
    assert_eq!(partly.next(None, at("2026-03-08T00:00:00Z")).at, at("2026-03-08T07:00:00Z"));
    let wholly = within(SECOND, sunday(time(2, 15, 0, 0), time(2, 45, 0, 0)), new_york());
    assert_eq!(wholly.next(None, at("2026-03-08T00:00:00Z")).at, at("2026-03-15T06:15:00Z"));
}

#[test]
fn cron_outside_of_every_window_is_refused() {
    let windows = || vec![window(&WEEK, time(8, 0, 0, 0), time(18, 0, 0, 0))];
    let schedule = |text| {
        let timing = Timing::Cron(Cron::parse(text).unwrap());
        Schedule::new(timing, windows(), TimeZone::UTC, &Jitter::NONE)
    };
    assert_eq!(schedule("0 3 * * *"), Err(BadSchedule::Never));
    assert_eq!(schedule("0 9 30 2 *"), Err(BadSchedule::Never));
    let both = schedule("0 3,9 * * *").unwrap();
    assert_eq!(both.next(None, at("2026-06-01T00:00:00Z")).at, at("2026-06-01T09:00:00Z"));
    assert_eq!(Schedule::every(Duration::ZERO), Err(BadSchedule::NoPeriod));
}

#[rstest]
#[case("* * * *", BadCron::Fields)]
#[case("* * * * * Asia/Tokyo", BadCron::Fields)]
#[case("61 * * * *", BadCron::Syntax)]
#[case("H * * * *", BadCron::Syntax)]
fn bad_cron(#[case] text: &str, #[case] problem: BadCron) {
    assert_eq!(Cron::parse(text), Err(problem));
}

#[test]
fn jitter_is_fixed_by_the_name_and_moves_cron_times_too() {
    let jitter = Jitter::new(0.1, "kafka of my_database.t");
    assert_eq!(jitter.offset(SECOND), Jitter::new(0.1, "kafka of my_database.t").offset(SECOND));
    assert_ne!(jitter.offset(SECOND), Jitter::new(0.1, "another").offset(SECOND));
    assert!(Jitter::new(1.0, "x").offset(Duration::from_hours(24)) < MOST_JITTER);
    let timing = Timing::Cron(Cron::parse("0 * * * *").unwrap());
    let schedule = Schedule::new(timing, Vec::new(), TimeZone::UTC, &jitter).unwrap();
    let offset = jitter.offset(CRON_STEP);
    let first = schedule.next(None, at("2026-06-01T00:30:00Z")).at;
    assert_eq!(first, at("2026-06-01T01:00:00Z") + offset);
    assert_eq!(schedule.next(Some(first), first).at, at("2026-06-01T02:00:00Z") + offset);
}

#[test]
fn a_time_that_is_waited_for_holds_unless_the_clock_goes_back() {
    let jitter = Jitter::new(0.1, "x");
    let timing = Timing::Every(Duration::from_mins(1));
    let minutely = Schedule::new(timing, Vec::new(), TimeZone::UTC, &jitter).unwrap();
    let now = at("2026-06-01T10:00:00Z");
    for last in [None, Some(now)] {
        let planned = minutely.next(last, now).at;
        let later = now + Duration::from_millis(1);
        assert_eq!(minutely.revised(planned, last, later), planned);
        assert_eq!(minutely.revised(planned, last, planned + SECOND), planned);
        let back = now - Duration::from_hours(5);
        assert!(minutely.revised(planned, last, back) <= back + Duration::from_mins(1));
    }
    let daily = cron("0 9 * * *", TimeZone::UTC);
    let planned = daily.next(Some(at("2026-06-01T09:00:00Z")), now).at;
    assert_eq!(planned, at("2026-06-02T09:00:00Z"));
    assert_eq!(
        daily.revised(planned, Some(at("2026-06-01T09:00:00Z")), at("2026-05-20T10:00:00Z")),
        at("2026-05-21T09:00:00Z")
    );
}

proptest! {
    #[test]
    fn a_period_is_never_further_away_than_itself(
        period in 1_u64..100_000_000_000, last in -1_000_000_000_i64..4_000_000_000, now in -1_000_000_000_i64..4_000_000_000,
    ) {
        let period = Duration::from_nanos(period);
        let (last, now) = (Timestamp::from_second(last).unwrap(), Timestamp::from_second(now).unwrap());
        let tick = Schedule::every(period).unwrap().next(Some(last), now);
        prop_assert!(tick.at > now && tick.at <= now + period);
        if last <= now {
            let steps = (tick.at.as_nanosecond() - last.as_nanosecond()) / i128::try_from(period.as_nanos()).unwrap();
            prop_assert_eq!(last.as_nanosecond() + steps * i128::try_from(period.as_nanos()).unwrap(), tick.at.as_nanosecond());
            prop_assert_eq!(u64::try_from(steps).unwrap(), tick.missed + 1);
        }
    }

    #[test]
    fn planned_times_lie_in_windows_and_after_now(
        from in 0_i8..24, to in 0_i8..24, day in 0_usize..7, now in 1_700_000_000_i64..1_900_000_000,
        ago in 0_i64..2_000_000, every in prop_oneof![Just(None), (1_u64..7200).prop_map(Some)],
        jitter in 0.0..1.0,
    ) {
        let windows = vec![window(&WEEK[day..=day], time(from, 0, 0, 0), time(to, 0, 0, 0))];
        let timing = match every {
            Some(seconds) => Timing::Every(Duration::from_secs(seconds)),
            None => Timing::Cron(Cron::parse("*/7 * * * *").unwrap()),
        };
        let schedule = Schedule::new(timing, windows, new_york(), &Jitter::new(jitter, "x")).unwrap();
        let now = Timestamp::from_second(now).unwrap();
        for last in [None, Some(now - Duration::from_secs(ago.unsigned_abs()))] {
            let tick = schedule.next(last, now);
            prop_assert!(tick.at > now);
            prop_assert!(schedule.is_active(tick.at));
            prop_assert!(tick.at < now + Duration::from_hours(15 * 24));
        }
    }

    #[test]
    fn cron_agrees_with_the_crate_where_the_clock_is_regular(
        now in 1_700_000_000_i64..1_900_000_000, minute in 0_u8..60, step in 1_u8..24, day in 0_u8..7,
    ) {
        let text = format!("{minute} */{step} * * {day}");
        let now = Timestamp::from_second(now).unwrap();
        let expected = cronexpr::parse_crontab(&format!("{text} UTC")).unwrap().find_next(cronexpr::MakeTimestamp(now)).unwrap();
        prop_assert_eq!(cron(&text, TimeZone::UTC).next(None, now).at, expected.timestamp());
    }
}
