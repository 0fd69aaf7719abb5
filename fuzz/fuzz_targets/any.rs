//! One of the targets of `hitc::fuzz`: the one that HITC_FUZZ_TARGET names.
//!
//! One program for all, because linking one for each takes longer than a minute of fuzzing.

#![no_main]

use std::{env, sync::LazyLock};

use hitc::fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = env::var("HITC_FUZZ_TARGET").expect("HITC_FUZZ_TARGET is set");
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    *found.expect("HITC_FUZZ_TARGET is a target")
});

fuzz_target!(|data: &[u8]| TARGET.1(data));
