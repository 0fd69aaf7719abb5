//! Reads messages of protocol buffers, which BuildKit speaks.

/// The fields with a length in a message of protocol buffers: texts, bytes and messages
/// (<https://protobuf.dev/programming-guides/encoding/>). Stops where the message is invalid.
pub(super) fn fields(mut message: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    std::iter::from_fn(move || {
        loop {
            let key = varint(&mut message)?;
            let skipped = match key & 7 {
                0 => {
                    varint(&mut message)?;
                    continue;
                }
                1 => 8,
                5 => 4,
                2 => {
                    let length = usize::try_from(varint(&mut message)?).ok()?;
                    let (value, rest) = message.split_at_checked(length)?;
                    message = rest;
                    return Some((key >> 3, value));
                }
                _ => return None,
            };
            message = message.split_at_checked(skipped)?.1;
        }
    })
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_messages_end() {
        for bytes in [&[0x0a, 0xff][..], &[0x0b], &[0x09, 1], &[0x80; 12]] {
            assert_eq!(fields(bytes).count(), 0);
        }
    }
}
