//! Fences: bounds of the keys of a small run, short enough to be repeated in every manifest.
//!
//! A run of a hundred changes all over a tree begins and ends with keys of fifty random bytes each, and a stack names
//! thirty runs. The beginnings of those keys tell which lookups can pass the run by nearly as well.

/// Bytes of a fence.
const FENCE: usize = 16;

/// Shortens the smallest key of a run to a key that is not above it.
pub(super) fn lower_fence(key: &mut Vec<u8>) {
    key.truncate(FENCE);
}

/// Shortens the largest key of a run to a key that is not below it: the first after all that begin alike. Where there is
/// none the key stays whole.
pub(super) fn upper_fence(key: &mut Vec<u8>) {
    if key.len() <= FENCE {
        return;
    }
    let mut fence = key[..FENCE].to_vec();
    while fence.pop_if(|byte| *byte == u8::MAX).is_some() {}
    if let Some(last) = fence.last_mut() {
        *last = last.saturating_add(1);
        *key = fence;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences_enclose_their_keys() {
        let upper = |key: &[u8]| {
            let mut fence = key.to_vec();
            upper_fence(&mut fence);
            fence
        };
        for key in [&b""[..], b"\x01\x00a", &[7; 16], &[7; 17], &[255; 40], b"0123456789abcde\xff\xff", &[1; 60]] {
            let mut lower = key.to_vec();
            lower_fence(&mut lower);
            assert!(lower.as_slice() <= key && upper(key).as_slice() >= key, "{key:?}");
            assert!(lower.len() <= FENCE);
        }
        assert_eq!(upper(b"0123456789abcdef/more"), b"0123456789abcdeg");
        assert_eq!(upper(&[255; 40]), [255; 40]);
        assert_eq!(upper(b"0123456789abcde\xff\xff"), b"0123456789abcdf");
    }
}
