//! When a request is retried, and after which pause.

use std::time::{Duration, SystemTime};

use jiff::fmt::rfc2822;
use reqwest::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};

/// How often a request is sent that fails with temporary errors.
pub(super) const MAX_ATTEMPTS: u32 = 5;

/// How long a request waits for a rate limit. Hourly limits let single requests through in between.
pub(super) const RATE_LIMIT_PATIENCE: Duration = Duration::from_mins(15);

/// How long a request waits for another one that changes the same resource.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_mins(2);

/// The longest pause between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// The minimum pause after the first attempt. It doubles with each attempt.
const MIN_BACKOFF: Duration = Duration::from_millis(500);

/// The longest `Retry-After` that is honoured. A longer one is an error.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(90);

/// The pause after an attempt. Half of it is random, so that clients that were rejected at the same
/// time do not retry at the same time.
pub(super) fn backoff(attempt: u32) -> Duration {
    let max = MIN_BACKOFF.saturating_mul(2_u32.saturating_pow(attempt));
    let max = max.min(MAX_BACKOFF);
    max / 2 + max.mul_f64(fastrand::f64() / 2.0)
}

/// Whether the server rejected the request without executing it, so that even a request that is not
/// repeatable can be retried.
pub(super) fn is_rate_limited(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
}

/// Whether another request changes the resource, so that this one was not executed: 423 (RFC 4918), or
/// Hetzner's 409 with the code `conflict` (<https://docs.hetzner.cloud/reference/cloud#errors>). Any other
/// 409 is final.
pub(super) fn is_locked(status: StatusCode, code: Option<&str>) -> bool {
    status == StatusCode::LOCKED || status == StatusCode::CONFLICT && code == Some("conflict")
}

/// What the response to a request that was rate limited says about the limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RateLimit {
    /// `Retry-After`. Hetzner does not send it, and DigitalOcean only for one of its limits.
    after: Option<Duration>,
    /// How long until a request is admitted, if the limit is a bucket that is refilled until it resets.
    refill: Duration,
    /// How long until the limit resets, if no request is left until then.
    reset: Option<Duration>,
}

impl RateLimit {
    /// Reads the limit from `Retry-After` and the headers `RateLimit-Limit`, `-Remaining` and
    /// `-Reset`. The last one is the time of the reset, or the seconds until then.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let number =
            |name: &str| -> Option<u64> { headers.get(name)?.to_str().ok()?.trim().parse().ok() };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs();
        let is_used_up = number("ratelimit-remaining") == Some(0);
        let reset = number("ratelimit-reset").filter(|_| is_used_up);
        let reset = reset.map(|reset| {
            // A number of seconds since 1970 is a large one.
            Duration::from_secs(if reset > now / 2 {
                reset.saturating_sub(now)
            } else {
                reset
            })
        });
        let most = number("ratelimit-limit").unwrap_or(1).max(1);
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        RateLimit {
            after: retry_after(headers),
            refill: reset.unwrap_or_default() / most,
            reset,
        }
    }

    /// The pause after the n-th rejection.
    pub(super) fn pause(self, rejections: u32) -> Duration {
        self.after.unwrap_or_else(|| {
            let pause = backoff(rejections).max(self.refill);
            self.reset
                .map_or(pause, |reset| pause.min(reset.max(MIN_BACKOFF)))
        })
    }
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

    fn limit(headers: &[(&'static str, String)]) -> RateLimit {
        let headers = headers.iter().map(|(name, value)| {
            let name = reqwest::header::HeaderName::from_static(name);
            (name, value.parse().unwrap())
        });
        RateLimit::of(&headers.collect())
    }

    #[test]
    fn rate_limits() {
        let now = jiff::Timestamp::now().as_second();
        let of = |most: u32, remaining: u32, reset: i64| {
            limit(&[
                ("ratelimit-limit", most.to_string()),
                ("ratelimit-remaining", remaining.to_string()),
                ("ratelimit-reset", reset.to_string()),
            ])
        };
        // Hetzner's bucket: one request a second, and all of them in an hour.
        let hetzner = of(3600, 0, now + 3600).pause(1);
        assert!(
            hetzner >= MIN_BACKOFF && hetzner <= 2 * MIN_BACKOFF,
            "{hetzner:?}"
        );
        assert!(of(60, 0, now + 3600).pause(1) > Duration::from_secs(59));
        // The reset is soon, also in the form of the IETF's draft.
        for reset in [2, now + 2] {
            assert!(
                of(10, 0, reset).pause(9) <= Duration::from_secs(2),
                "{reset}"
            );
        }
        // The reset of a limit that is not reached says nothing.
        assert!(of(5000, 4000, now + 2).pause(9) > Duration::from_secs(10));
        let after = limit(&[("retry-after", "7".to_owned())]);
        assert_eq!(after.pause(1), Duration::from_secs(7));
    }

    #[test]
    fn backoff_doubles() {
        for attempt in 1..4 {
            let max = MIN_BACKOFF * 2_u32.pow(attempt);
            let pause = backoff(attempt);
            assert!(pause >= max / 2 && pause <= max, "{attempt}: {pause:?}");
        }
        assert!(backoff(50) <= MAX_BACKOFF);
    }
}
