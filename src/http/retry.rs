//! When a request is retried, and after which pause.

use std::time::{Duration, SystemTime};

use jiff::fmt::rfc2822;
use reqwest::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};

/// How often a request is sent.
pub(super) const MAX_ATTEMPTS: u32 = 5;

/// The minimum pause after the first attempt. It doubles with each attempt.
const MIN_BACKOFF: Duration = Duration::from_millis(500);

/// The longest `Retry-After` that is honoured. A longer one is an error.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(90);

/// The pause after an attempt. Half of it is random, so that clients that were rejected at the same
/// time do not retry at the same time.
pub(super) fn backoff(attempt: u32) -> Duration {
    let max = MIN_BACKOFF * 2_u32.saturating_pow(attempt);
    max / 2 + max.mul_f64(fastrand::f64() / 2.0)
}

/// Whether the server rejected the request without executing it, so that even a request that is not
/// repeatable can be retried.
pub(super) fn is_rate_limited(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
}

/// Whether the error may be temporary, so that a repeatable request can be retried.
pub(super) fn is_transient(status: StatusCode) -> bool {
    status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
}

/// The pause that the server requests: a number of seconds, or a date (RFC 9110, section 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = rfc2822::parse(text).ok()?.timestamp();
    let left = SystemTime::from(until).duration_since(SystemTime::now());
    // No pause if the date has passed.
    Some(left.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, text.parse().unwrap());
        retry_after(&headers)
    }

    #[test]
    fn retry_after_in_seconds_and_as_a_date() {
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(60);
        let text = rfc2822::to_string(&soon.to_zoned(jiff::tz::TimeZone::UTC)).unwrap();
        assert!(after(&text).unwrap() > Duration::from_secs(50));
        assert_eq!(after("soon"), None);
    }

    #[test]
    fn backoff_doubles() {
        for attempt in 1..4 {
            let max = MIN_BACKOFF * 2_u32.pow(attempt);
            let pause = backoff(attempt);
            assert!(pause >= max / 2 && pause <= max, "{attempt}: {pause:?}");
        }
    }
}
