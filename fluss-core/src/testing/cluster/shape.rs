//! Which fields a request must have. Servers drop a request without an answer when one is missing,
//! while the decoder of the generated messages fills in zero, so presence is checked here first.

use super::api::key;

/// Required tags of a message, and the messages inside it.
struct Shape {
    required: &'static [u32],
    inner: &'static [(u32, &'static Shape)],
}

static NONE: Shape = Shape { required: &[], inner: &[] };
static ONE: Shape = Shape { required: &[1], inner: &[] };
static TWO: Shape = Shape { required: &[1, 2], inner: &[] };
static THREE: Shape = Shape { required: &[1, 2, 3], inner: &[] };
static PATH: Shape = Shape { required: &[1], inner: &[(1, &TWO)] };
static PATHS: Shape = Shape { required: &[], inner: &[(1, &TWO)] };
static SPEC: Shape = Shape { required: &[], inner: &[(1, &TWO)] };
static METADATA: Shape = Shape { required: &[], inner: &[(1, &TWO), (2, &TWO)] };
static CREATE_DATABASE: Shape = TWO_PLAIN;
const TWO_PLAIN: Shape = Shape { required: &[1, 2], inner: &[] };
static CREATE_TABLE: Shape = Shape { required: &[1, 2, 3], inner: &[(1, &TWO)] };
static DROP_TABLE: Shape = Shape { required: &[1, 2], inner: &[(1, &TWO)] };
static PARTITION: Shape = Shape { required: &[1, 2, 3], inner: &[(1, &TWO), (2, &SPEC)] };
static LIST_PARTITIONS: Shape = Shape { required: &[1], inner: &[(1, &TWO), (2, &SPEC)] };
static WRITE_BUCKET: Shape = Shape { required: &[2, 3], inner: &[] };
static PRODUCE: Shape = Shape { required: &[1, 2, 3], inner: &[(4, &WRITE_BUCKET)] };
static PUT: Shape = Shape { required: &[1, 2, 3], inner: &[(5, &WRITE_BUCKET)] };
static FETCH_BUCKET: Shape = Shape { required: &[2, 3, 4], inner: &[] };
static FETCH_TABLE: Shape = Shape { required: &[1, 2], inner: &[(4, &FETCH_BUCKET)] };
static FETCH: Shape = Shape { required: &[1, 2], inner: &[(3, &FETCH_TABLE)] };
static BUCKET: Shape = Shape { required: &[2], inner: &[] };
static LOOKUP: Shape = Shape { required: &[1], inner: &[(2, &BUCKET)] };
static ACL: Shape = Shape { required: &[1, 2, 3, 4, 5, 6, 7], inner: &[] };
static CREATE_ACLS: Shape = Shape { required: &[], inner: &[(1, &ACL)] };
static ACL_FILTER: Shape = Shape { required: &[2, 6, 7], inner: &[] };
static DROP_ACLS: Shape = Shape { required: &[], inner: &[(1, &ACL_FILTER)] };
static LIMIT_SCAN: Shape = Shape { required: &[2, 4, 5], inner: &[] };

fn shape(api: i16) -> &'static Shape {
    match api {
        key::API_VERSIONS | key::AUTHENTICATE => &TWO,
        key::CREATE_DATABASE => &CREATE_DATABASE,
        key::DROP_DATABASE | key::LIST_OFFSETS => &THREE,
        key::DATABASE_EXISTS | key::LIST_TABLES | key::GET_DATABASE_INFO => &ONE,
        key::CREATE_TABLE => &CREATE_TABLE,
        key::DROP_TABLE => &DROP_TABLE,
        key::GET_TABLE_INFO | key::TABLE_EXISTS | key::GET_TABLE_SCHEMA => &PATH,
        key::LIST_PARTITION_INFOS => &LIST_PARTITIONS,
        key::GET_METADATA => &METADATA,
        key::INIT_WRITER => &PATHS,
        key::PRODUCE_LOG => &PRODUCE,
        key::PUT_KV => &PUT,
        key::FETCH_LOG => &FETCH,
        key::LOOKUP | key::PREFIX_LOOKUP | key::GET_TABLE_STATS => &LOOKUP,
        key::LIMIT_SCAN => &LIMIT_SCAN,
        key::CREATE_PARTITION | key::DROP_PARTITION => &PARTITION,
        key::CREATE_ACLS => &CREATE_ACLS,
        key::DROP_ACLS => &DROP_ACLS,
        _ => &NONE,
    }
}

/// Whether `body` is well formed and has everything that a request of `api` must have.
pub(super) fn complete(api: i16, body: &[u8]) -> bool {
    check(shape(api), body).is_some()
}

fn check(shape: &Shape, mut body: &[u8]) -> Option<()> {
    let mut seen = 0_u64;
    while !body.is_empty() {
        let tag = varint(&mut body)?;
        let field = u32::try_from(tag >> 3).ok().filter(|&f| f != 0)?;
        if field < 64 {
            seen |= 1 << field;
        }
        match tag & 7 {
            0 => drop(varint(&mut body)?),
            1 => drop(take(&mut body, 8)?),
            2 => {
                let len = usize::try_from(varint(&mut body)?).ok()?;
                let value = take(&mut body, len)?;
                if let Some((_, inner)) = shape.inner.iter().find(|(f, _)| *f == field) {
                    check(inner, value)?;
                }
            }
            5 => drop(take(&mut body, 4)?),
            // Groups are an error for the server's parser, and there are no other wire types.
            _ => return None,
        }
    }
    shape.required.iter().all(|&f| seen & (1 << f) != 0).then_some(())
}

fn varint(body: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for (i, &byte) in body.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            *body = &body[i + 1..];
            return Some(value);
        }
    }
    None
}

fn take<'a>(body: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = body.split_at_checked(len)?;
    *body = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluss_proto::message::{PbProduceLogReqForBucket, ProduceLogRequest};
    use prost::Message;

    #[test]
    fn a_missing_field_a_group_or_a_cut_makes_a_request_incomplete() {
        let bucket = PbProduceLogReqForBucket::default();
        let request = ProduceLogRequest { buckets_req: vec![bucket], ..Default::default() };
        let body = request.encode_to_vec();
        assert!(complete(key::PRODUCE_LOG, &body));
        assert!(!complete(key::PRODUCE_LOG, &body[2..]), "acks is missing");
        for cut in 0..body.len() {
            // After the three numbers it is a whole request without buckets.
            let whole = cut == 6;
            assert_eq!(complete(key::PRODUCE_LOG, &body[..cut]), whole, "cut at {cut}");
        }
        assert!(complete(key::GET_METADATA, &[]));
        assert!(!complete(key::GET_METADATA, &[0x0b, 0x0c]), "a group");
        assert!(!complete(key::GET_METADATA, &[0xff; 11]), "an endless varint");
    }
}
