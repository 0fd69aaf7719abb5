//! Parsing and formatting of sizes, CPU counts and durations.

use std::time::Duration;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use crate::core::value::{Invalid, Value};

/// The longest accepted duration: one year. A longer one is a mistake, and `Instant` overflows.
const LONGEST: Duration = Duration::from_hours(365 * 24);

/// Parses a duration such as `500ms`, `30s`, `5m` or `2h`; a plain number is in seconds.
pub fn duration(value: &Value, what: &str) -> Result<Duration, Invalid> {
    let text = value.to_text(what)?;
    let (number, unit) = match text.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => text.split_at(at),
        None => (text.as_str(), "s"),
    };
    let seconds = match (number.trim().parse::<f64>(), unit) {
        (Ok(number), "ms") => number / 1000.0,
        (Ok(number), "s") => number,
        (Ok(number), "m") => number * 60.0,
        (Ok(number), "h") => number * 3600.0,
        _ => f64::NAN,
    };
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| *time <= LONGEST)
        .ok_or_else(|| {
            Invalid::new(value, format!("{what}: invalid duration `{text}`"))
                .help("write 30s or 5m".to_owned())
        })
}

/// Parses a moment: a duration before `now`, such as `10m`, or a date and time such as
/// `2026-01-31T12:00:00Z`; without a time zone, in that of the local machine.
pub fn moment(value: &Value, what: &str, now: Timestamp) -> Result<Timestamp, Invalid> {
    if let Ok(before) = duration(value, what)
        && let Ok(moment) = now.checked_sub(before)
    {
        return Ok(moment);
    }
    let text = value.to_text(what)?;
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    let local = text.parse::<DateTime>().ok();
    let local = local.and_then(|local| local.to_zoned(TimeZone::system()).ok());
    local.map(|local| local.timestamp()).ok_or_else(|| {
        Invalid::new(value, format!("{what}: invalid time `{text}`"))
            .help("write 10m, 2h or 2026-01-31T12:00:00Z".to_owned())
    })
}

/// Parses a size such as `512m` or `2g` in powers of 1024; a plain number is in bytes.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix('b').unwrap_or(&text);
    let (number, shift) = match text.chars().last()? {
        'k' => (&text[..text.len() - 1], 10),
        'm' => (&text[..text.len() - 1], 20),
        'g' => (&text[..text.len() - 1], 30),
        't' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Formats a size in the largest unit that divides it, as [`parse_bytes`] reads it: `512m`.
pub fn format_bytes(bytes: u64) -> String {
    for (shift, unit) in [(40, "t"), (30, "g"), (20, "m"), (10, "k")] {
        if bytes != 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// Formats a number of bytes for display: `12.3 MiB`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
    let mut number = bytes as f64 / 1024.0;
    let mut unit = 0;
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    format!("{number:.1} {}", UNITS[unit])
}

/// Parses a number of CPUs such as `2` or `0.5`. Returns billionths (nano CPUs).
pub fn parse_cpus(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let fraction: u64 = format!("{fraction:0<9}").parse().ok()?;
    let nano = whole.checked_mul(1_000_000_000)?.checked_add(fraction)?;
    (nano > 0).then_some(nano)
}

/// Formats nano CPUs as a number of CPUs: `0.5`.
pub fn format_cpus(nano: u64) -> String {
    let (whole, fraction) = (nano / 1_000_000_000, nano % 1_000_000_000);
    let fraction = format!("{fraction:09}");
    match fraction.trim_end_matches('0') {
        "" => whole.to_string(),
        digits => format!("{whole}.{digits}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations() {
        assert_eq!(parse_bytes("512m"), Some(512 << 20));
        assert_eq!(parse_bytes("2GB"), Some(2 << 30));
        assert_eq!(parse_bytes("1.5g"), None);
        assert_eq!(parse_bytes(""), None);
        assert_eq!(format_bytes(512 << 20), "512m");
        assert_eq!(format_bytes(1000), "1000");
        assert_eq!(parse_cpus("0.5"), Some(500_000_000));
        assert_eq!(parse_cpus("2"), Some(2_000_000_000));
        assert_eq!(parse_cpus("0"), None);
        assert_eq!(parse_cpus("-1"), None);
        assert_eq!(format_cpus(1_500_000_000), "1.5");
        let time = |text| duration(&Value::text(text), "timeout");
        assert_eq!(time("1500ms").unwrap(), Duration::from_millis(1500));
        assert_eq!(time("2m").unwrap(), Duration::from_mins(2));
        assert!(time("soon").is_err());
        assert!(time("-1").is_err());
        assert!(time("99999999999h").is_err());
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let at = |text| moment(&Value::text(text), "since", now).map(|at| at.to_string());
        assert_eq!(at("10m").unwrap(), "2026-01-31T11:50:00Z");
        assert_eq!(
            at("2026-01-30T01:02:03.5Z").unwrap(),
            "2026-01-30T01:02:03.5Z"
        );
        assert!(at("2026-01-30 01:02").is_ok());
        assert!(at("yesterday").is_err());
    }
}
