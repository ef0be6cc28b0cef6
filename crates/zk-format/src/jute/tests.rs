use proptest::prelude::*;

use super::*;

#[test]
fn null_and_empty_differ() {
    let mut writer = Writer::new();
    writer.buffer(None).buffer(Some(b"")).vector(None).vector(Some(0));
    assert_eq!(writer.bytes(), [[0xff; 4], [0; 4], [0xff; 4], [0; 4]].concat());
    let mut reader = Reader::new(writer.bytes());
    assert_eq!(reader.buffer(), Ok(None));
    assert_eq!(reader.buffer(), Ok(Some(&b""[..])));
    assert_eq!(reader.vector(4), Ok(None));
    assert_eq!(reader.vector(4), Ok(Some(0)));
    assert_eq!(reader.finish(), Ok(()));
}

#[test]
fn lengths_are_checked_before_use() {
    let absurd = [0x7f, 0xff, 0xff, 0xff, 1];
    let at = 100;
    let reader = || Reader::at(&absurd, at);
    assert_eq!(reader().buffer(), Err(JuteError::Truncated { offset: 104, needed: 0x7fff_ffff, remaining: 1 }));
    assert_eq!(reader().buffer_up_to(10), Err(JuteError::TooLong { offset: at, length: 0x7fff_ffff, limit: 10 }));
    assert_eq!(reader().vector(1), Err(JuteError::TooLong { offset: at, length: 0x7fff_ffff, limit: 1 }));
    let negative = (-2i32).to_be_bytes();
    assert_eq!(Reader::new(&negative).buffer(), Err(JuteError::BadLength { offset: 0, length: -2 }));
    assert_eq!(Reader::new(&negative).vector(1), Err(JuteError::BadLength { offset: 0, length: -2 }));
}

proptest! {
    #[test]
    fn values_round_trip(numbers: (u8, bool, i32, i64), data: Option<Vec<u8>>, strings: Vec<Option<Vec<u8>>>) {
        let mut writer = Writer::new();
        writer.byte(numbers.0).bool(numbers.1).i32(numbers.2).i64(numbers.3).buffer(data.as_deref());
        writer.vector(Some(strings.len()));
        for string in &strings {
            writer.ustring(string.as_deref());
        }
        let bytes = writer.into_bytes();
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!(reader.byte(), Ok(numbers.0));
        prop_assert_eq!(reader.bool(), Ok(numbers.1));
        prop_assert_eq!(reader.i32(), Ok(numbers.2));
        prop_assert_eq!(reader.i64(), Ok(numbers.3));
        prop_assert_eq!(reader.buffer(), Ok(data.as_deref()));
        prop_assert_eq!(reader.vector(4), Ok(Some(strings.len())));
        for string in &strings {
            prop_assert_eq!(reader.ustring(), Ok(string.as_deref()));
        }
        prop_assert_eq!(reader.finish(), Ok(()));
        prop_assert_eq!(reader.position(), bytes.len() as u64);
    }
}
