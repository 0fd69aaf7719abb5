//! No text makes `hitc check` panic.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = hitc::audit_text(text);
});
