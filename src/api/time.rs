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
        "Sleeps for this number of seconds. In a test, the clock advances at once.",
        |call: &Call, seconds: Dynamic| sleep(call, &seconds),
    );
    time.function(
        "now() -> float",
        "Returns the seconds since 1970. A test begins at 2026-01-01 00:00:00 UTC, and time passes
         only by `sleep`.",
        |call: &Call| Ok(call.now()),
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
    call.wait(async {
        call.context.network.sleep(duration).await;
        Ok::<_, Diagnostic>(())
    })
}
