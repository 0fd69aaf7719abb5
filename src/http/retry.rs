//! When a request is sent again, and after how long.

use std::time::{Duration, SystemTime};

use jiff::fmt::rfc2822;
use reqwest::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};

/// How often a request is sent at most.
pub(super) const TRIES: u32 = 5;

/// How long after the first try, at least; twice that after the second, and so on.
const PAUSE: Duration = Duration::from_millis(500);

/// What a server wants to be waited for longer than this is an error that says so.
pub(super) const LONGEST: Duration = Duration::from_secs(90);

/// How long to wait after so many tries. Half of it is chance, so that those who were turned away
/// together do not come back together.
pub(super) fn pause(tried: u32) -> Duration {
    let most = PAUSE * 2_u32.saturating_pow(tried);
    most / 2 + most.mul_f64(fastrand::f64() / 2.0)
}

/// Whether the server has done nothing, so that even what may not be done twice can be sent again.
pub(super) fn is_turned_away(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
}

/// Whether another try may go better, of what may be done twice.
pub(super) fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
}

/// How long the server wants to be left alone (RFC 9110, 10.2.3): so many seconds, or until a date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = rfc2822::parse(text).ok()?.timestamp();
    let left = SystemTime::from(until).duration_since(SystemTime::now());
    // A moment that has passed is now.
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
    fn seconds_and_dates() {
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(60);
        let text = rfc2822::to_string(&soon.to_zoned(jiff::tz::TimeZone::UTC)).unwrap();
        assert!(after(&text).unwrap() > Duration::from_secs(50));
        assert_eq!(after("soon"), None);
    }

    #[test]
    fn pauses_grow() {
        for tried in 1..4 {
            let most = PAUSE * 2_u32.pow(tried);
            let pause = pause(tried);
            assert!(pause >= most / 2 && pause <= most, "{tried}: {pause:?}");
        }
    }
}
