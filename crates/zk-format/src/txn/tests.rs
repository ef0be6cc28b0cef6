#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::*;
use crate::model::acl_list;
use proptest::prelude::*;
use rstest::rstest;

fn header(body: &Body<'_>) -> TxnHeader {
    TxnHeader { session: -5, cxid: 9, zxid: Zxid::new(3, 7), time_ms: 1_700_000_000_123, kind: body.kind() }
}

fn create(kind: CreateKind) -> Body<'static> {
    let acl: &'static [u8] = Box::leak(acl_list(2).0.to_vec().into_boxed_slice());
    Body::Create(Create { path: b"/a/b", data: Some(b""), acl, kind, parent_cversion: 4 })
}

fn every_body() -> Vec<Body<'static>> {
    let acl: &'static [u8] = Box::leak(acl_list(1).0.to_vec().into_boxed_slice());
    let mut bodies = vec![
        Body::CreateSession { timeout_ms: 4000 },
        Body::CloseSession { paths: None },
        Body::CloseSession { paths: Some(vec![]) },
        Body::CloseSession { paths: Some(vec![b"/a", b"/b/c"]) },
        Body::Error { code: -101 },
        create(CreateKind::Plain { ephemeral: true }),
        create(CreateKind::WithStat { ephemeral: false }),
        create(CreateKind::Container),
        create(CreateKind::Ttl { ttl_ms: 77 }),
        Body::Delete { path: b"/a", reaped: false },
        Body::Delete { path: b"/a", reaped: true },
        Body::SetData { path: b"", data: None, version: 1, reconfig: false },
        Body::SetData { path: b"/zookeeper/config", data: Some(b"x"), version: 2, reconfig: true },
        Body::SetAcl { path: b"/a", acl, version: 3 },
        Body::Check { path: b"/a", version: 4 },
    ];
    let parts = bodies.iter().filter(|body| !matches!(body, Body::CloseSession { .. } | Body::CreateSession { .. }));
    let parts = parts.map(|body| Part { kind: body.kind(), body: body.clone() }).collect();
    bodies.push(Body::Multi { parts });
    bodies
}

#[test]
fn every_transaction_comes_back_with_and_without_a_digest() {
    for body in every_body() {
        for digest in [None, Some(TxnDigest { version: DIGEST_VERSION, digest: -77 })] {
            let txn = Txn { header: header(&body), body: body.clone(), digest };
            let payload = encode(&txn);
            assert_eq!(Txn::decode(&payload, 0), Ok(txn), "{body:?}");
        }
    }
}

#[test]
fn a_transaction_cut_anywhere_is_an_error_or_another_whole_one() {
    for body in every_body() {
        let txn = Txn { header: header(&body), body, digest: None };
        let payload = encode(&txn);
        for end in 0..payload.len() {
            // What is left of a closeSession, or of a create from before 3.4, is a transaction of its own.
            let shorter = Txn::decode(&payload[..end], 100);
            let known = match &txn.body {
                // Twelve bytes that start with a count of two read as a digest.
                Body::CloseSession { paths } => {
                    end == HEADER_BYTES
                        || (end == HEADER_BYTES + 12 && paths.as_ref().is_some_and(|paths| paths.len() == 2))
                }
                Body::Create(create) => matches!(create.kind, CreateKind::Plain { .. }) && end + 4 == payload.len(),
                _ => false,
            };
            assert_eq!(shorter.is_ok(), known, "{txn:?} cut at {end}: {shorter:?}");
        }
    }
}

#[test]
fn a_create_from_before_3_4_has_no_parent_version() {
    let body = create(CreateKind::Plain { ephemeral: false });
    let mut payload = encode(&Txn { header: header(&body), body, digest: None });
    payload.truncate(payload.len() - 4);
    let txn = Txn::decode(&payload, 0).unwrap();
    assert!(matches!(txn.body, Body::Create(Create { parent_cversion: -1, .. })));
}

/// As a leader logs it whose followers had it committed first: the type says error, the bytes are still those of a create.
#[test]
fn a_part_of_a_failed_multi_may_have_kept_its_bytes() {
    let parts = [create(CreateKind::Plain { ephemeral: false }), Body::Error { code: -101 }];
    let parts = parts.into_iter().map(|body| Part { kind: body.kind(), body }).collect();
    let body = Body::Multi { parts };
    let mut payload = encode(&Txn { header: header(&body), body, digest: None });
    payload[HEADER_BYTES + 4..HEADER_BYTES + 8].copy_from_slice(&(-1i32).to_be_bytes());
    let read = Txn::decode(&payload, 0).unwrap();
    let error = |code| Part { kind: -1, body: Body::Error { code } };
    assert_eq!(read.body, Body::Multi { parts: vec![error(0), error(-101)] });
    assert!(read.body.is_failed_multi() && !read.body.changes_nodes());
}

#[rstest]
#[case(17)]
#[case(3)]
#[case(-12)]
#[case(100)]
fn an_unknown_type_is_named_with_its_place(#[case] kind: i32) {
    let body = Body::Error { code: 0 };
    let header = TxnHeader { kind, ..header(&body) };
    let payload = encode(&Txn { header, body, digest: None });
    let expected = TxnError::UnknownType { zxid: Zxid::new(3, 7), offset: 1234, kind };
    assert_eq!(Txn::decode(&payload, 1234), Err(expected));
}

#[rstest]
#[case(b"a")]
#[case(b"/a/")]
#[case(b"/a//b")]
#[case(b"/a/../b")]
#[case(b"/a\x01")]
fn a_create_of_what_is_no_path_is_refused(#[case] path: &[u8]) {
    let acl = acl_list(0);
    let kind = CreateKind::WithStat { ephemeral: false };
    let body = Body::Create(Create { path, data: None, acl: &acl.0, kind, parent_cversion: 1 });
    let payload = encode(&Txn { header: header(&body), body, digest: None });
    assert!(matches!(Txn::decode(&payload, 0), Err(TxnError::BadPath { .. })));
}

proptest! {
    /// Nothing from outside panics, and what is read writes the same bytes again unless it said less than its bytes.
    #[test]
    fn arbitrary_bytes_do_no_harm(kind in prop::sample::select(vec![-11, -10, -1, 1, 2, 5, 7, 13, 14, 15, 16, 19, 20, 21]), body: Vec<u8>) {
        let mut payload = encode(&Txn {
            header: TxnHeader { kind, ..TxnHeader::default() },
            body: Body::CloseSession { paths: None },
            digest: None,
        });
        payload.extend(body);
        let _ = Txn::decode(&payload, 0);
    }
}
