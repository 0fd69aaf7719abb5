//! `time::`: sleeping, and the current time.

use std::{sync::Arc, time::Duration};

use rhai::Dynamic;

use super::{
    Api,
    call::{Answer, Call},
    namespace::Namespace,
};
use crate::core::diagnostic::{Diagnostic, Kind};

pub(super) fn namespace(api: &Arc<Api>) -> Namespace {
    let mut time = Namespace::new(api, "time", "Sleeping, and the current time.");
    time.function(
        "sleep(seconds: number)",
        "Sleeps for this number of seconds. Does nothing in a test.",
        |call: &Call, seconds: Dynamic| sleep(call, &seconds),
    );
    time.function(
        "now() -> float",
        "Returns the seconds since 1970.",
        |_: &Call| Ok(jiff::Timestamp::now().as_duration().as_secs_f64()),
    );
    time
}

fn sleep(call: &Call, seconds: &Dynamic) -> Answer<()> {
    #[expect(clippy::cast_precision_loss, reason = "2^53 seconds are long enough")]
    let number = seconds
        .as_float()
        .or_else(|_| seconds.as_int().map(|n| n as f64));
    let duration = number
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number).ok())
        .ok_or_else(|| {
            let text = format!("time::sleep: invalid number of seconds `{seconds}`");
            call.fail(Diagnostic::new(Kind::Usage, text))
        })?;
    if call.mock().is_some() {
        // Mock hosts answer immediately.
        return Ok(());
    }
    call.wait(async {
        tokio::time::sleep(duration).await;
        Ok::<_, Diagnostic>(())
    })
}
