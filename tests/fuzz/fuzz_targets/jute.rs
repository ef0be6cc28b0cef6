//! Jute values from any bytes: the first byte of each step chooses what is read next. Reading never panics, never
//! goes past the end, and what an ACL list decodes to is what it was read from.

#![no_main]

use libfuzzer_sys::fuzz_target;
use zk_format::AclList;
use zk_format::jute::Reader;

fuzz_target!(|bytes: &[u8]| {
    let mut reader = Reader::new(bytes);
    while let Ok(choice) = reader.byte() {
        let before = reader.remaining();
        let read = match choice % 7 {
            0 => reader.bool().is_ok(),
            1 => reader.i32().is_ok(),
            2 => reader.i64().is_ok(),
            3 => reader.buffer().is_ok(),
            4 => reader.buffer_up_to(1000).is_ok_and(|buffer| buffer.is_none_or(|bytes| bytes.len() <= 1000)),
            5 => reader.vector(12).is_ok_and(|count| count.is_none_or(|count| count * 12 <= reader.remaining())),
            _ => AclList::read(&mut reader).is_ok_and(|list| {
                let entries = list.decode().expect("a list that was read decodes");
                assert!(list.is_null() || AclList::encode(&entries).0.len() == list.0.len());
                true
            }),
        };
        assert!(reader.remaining() <= before);
        assert_eq!(reader.position(), (bytes.len() - reader.remaining()) as u64);
        if !read {
            break;
        }
    }
});
