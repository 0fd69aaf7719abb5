//! `time::`: sleeping, the current time, and dates.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp, fmt::strtime, tz::TimeZone};
use rhai::{Dynamic, ImmutableString};

use super::{
    Api,
    call::{Answer, Call},
    namespace::Namespace,
};
use crate::core::diagnostic::{Diagnostic, Kind};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut time = Namespace::new(api, "time", "Sleeping, the current time, and dates.");
    time.function(
        "sleep(seconds: number)",
        "Sleeps for this number of seconds. In a test, the clock advances at once.",
        |call: &Call, seconds: Dynamic| sleep(call, &seconds),
    );
    time.function(
        "now() -> float",
        "Returns the seconds since 1970. A test begins at 2026-01-01 00:00:00 UTC, and time passes
         only by `sleep`.",
        |call: &Call| Ok(call.now()),
    );
    time.function(
        "format(time: float, format: string) -> string",
        "Formats seconds since 1970, as `now` returns them, in the time zone of this machine. The
         format is that of strftime(3): `time::format(time::now(), \"%Y-%m-%d_%H%M%S\")`.",
        |call: &Call, time: Dynamic, format: ImmutableString| {
            formatted(call, &time, &format, TimeZone::system())
        },
    );
    time.function(
        "format(time: float, format: string, zone: string) -> string",
        "Formats seconds since 1970 in a time zone, such as `UTC` or `Europe/Berlin`.",
        |call: &Call, time: Dynamic, format: ImmutableString, zone: ImmutableString| {
            let zone = TimeZone::get(&zone).map_err(|_| {
                let text = format!("time::format: unknown time zone `{zone}`");
                let help = "write `UTC`, or a name such as `Europe/Berlin`".to_owned();
                call.fail(Diagnostic::new(Kind::Usage, text).help(help))
            })?;
            formatted(call, &time, &format, zone)
        },
    );
    time.function(
        "parse(text: string) -> float",
        "Returns the seconds since 1970 of a time as of RFC 3339: `2026-11-27T20:15:00Z`, as the
         engine and most clouds write it.",
        |call: &Call, text: ImmutableString| {
            let time: Timestamp = text.parse().map_err(|_| {
                let message = format!("time::parse: invalid time `{text}`");
                let help = "write it as 2026-11-27T20:15:00Z".to_owned();
                call.fail(Diagnostic::new(Kind::Usage, message).help(help))
            })?;
            Ok(time.as_duration().as_secs_f64())
        },
    );
    time
}

fn formatted(call: &Call, time: &Dynamic, format: &str, zone: TimeZone) -> Answer<String> {
    let duration = seconds(time).and_then(|n| SignedDuration::try_from_secs_f64(n).ok());
    let time = duration
        .and_then(|duration| Timestamp::from_duration(duration).ok())
        .ok_or_else(|| {
            let text = format!("time::format: invalid time `{time}`");
            call.fail(Diagnostic::new(Kind::Usage, text))
        })?;
    strtime::format(format, &time.to_zoned(zone)).map_err(|error| {
        let text = format!("time::format: invalid format `{format}`: {error}");
        let help = "see strftime(3): %Y-%m-%d %H:%M:%S".to_owned();
        call.fail(Diagnostic::new(Kind::Usage, text).help(help))
    })
}

/// A number of seconds; none if it is no number.
fn seconds(value: &Dynamic) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "2^53 seconds are long enough")]
    let number = value
        .as_float()
        .or_else(|_| value.as_int().map(|n| n as f64));
    number.ok()
}

fn sleep(call: &Call, time: &Dynamic) -> Answer<()> {
    let duration = seconds(time)
        .and_then(|number| Duration::try_from_secs_f64(number).ok())
        .ok_or_else(|| {
            let text = format!("time::sleep: invalid number of seconds `{time}`");
            call.fail(Diagnostic::new(Kind::Usage, text))
        })?;
    call.wait(async {
        call.context.network.sleep(duration).await;
        Ok::<_, Diagnostic>(())
    })
}
