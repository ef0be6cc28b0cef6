//! Integers of variable length: seven bits a byte, lowest first, the top bit set on all but the last byte.

/// Appends an unsigned integer.
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// Bytes [`put`] appends.
pub(super) fn len(number: u64) -> u32 {
    (70 - (number | 1).leading_zeros()) / 7
}

/// Signed to unsigned, small magnitudes to small numbers.
pub(super) fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

/// The inverse of [`zigzag`].
pub(super) fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

/// Takes an unsigned integer off the front. `None` where the input ends first, the number does not fit, or it was
/// not written in its shortest form.
#[inline]
pub(super) fn take(input: &mut &[u8]) -> Option<u64> {
    let &[first, ref rest @ ..] = *input else { return None };
    if first < 0x80 {
        *input = rest;
        return Some(first.into());
    }
    let Some(word) = input.first_chunk::<8>().map(|word| u64::from_le_bytes(*word)) else { return take_slow(input) };
    // The top bit of the last byte.
    let last = (!word & 0x8080_8080_8080_8080).trailing_zeros();
    if last == u64::BITS {
        return take_slow(input);
    }
    let digits = word & (u64::MAX >> (63 - last)) & 0x7f7f_7f7f_7f7f_7f7f;
    *input = &input[last as usize / 8 + 1..];
    // Sevens of bits side by side: of two bytes each, then of four, then of all eight.
    let pairs = digits & 0x007f_007f_007f_007f | (digits & 0x7f00_7f00_7f00_7f00) >> 1;
    let fours = pairs & 0x0000_3fff_0000_3fff | (pairs & 0x3fff_0000_3fff_0000) >> 2;
    let number = fours & 0x0fff_ffff | (fours & 0x0fff_ffff_0000_0000) >> 4;
    // A last byte of nothing is one too many.
    (digits >> (last - 7) != 0).then_some(number)
}

/// As [`take`], of any length and with any number of bytes behind it.
#[cold]
fn take_slow(input: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        number |= bits << shift;
        if byte < 0x80 {
            return (byte != 0 || shift == 0).then_some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_at_every_length() {
        for shift in 0..64 {
            for number in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
                let mut bytes = Vec::new();
                put(&mut bytes, number);
                assert_eq!(u32::try_from(bytes.len()).unwrap(), len(number), "{number}");
                assert_eq!(take(&mut bytes.as_slice()), Some(number));
                assert_eq!(take(&mut &bytes[..bytes.len() - 1]), None);
                for behind in [[0; 8], [0xff; 8]] {
                    let all = [&bytes[..], &behind].concat();
                    let mut input = &all[..];
                    assert_eq!((take(&mut input), input), (Some(number), &behind[..]));
                }
                assert_eq!(zigzag(unzigzag(number)), number);
            }
        }
        assert_eq!([0, -1, 1, -2, i64::MIN].map(zigzag), [0, 1, 2, 3, u64::MAX]);
    }

    #[test]
    fn overlong_and_overflowing_forms_are_refused() {
        for len in 1..10 {
            let mut overlong = vec![0x81; len];
            overlong.push(0);
            assert_eq!(take(&mut &overlong[..]), None);
            overlong.extend([1; 8]);
            assert_eq!(take(&mut &overlong[..]), None);
        }
        assert_eq!(take(&mut &[0x80, 0][..]), None);
        assert_eq!(take(&mut &[0xff; 10][..]), None);
        assert_eq!(take(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2][..]), None);
    }
}
