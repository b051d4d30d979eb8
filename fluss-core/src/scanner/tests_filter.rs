//! Servers that leave batches out: what they are told, and what their answers mean.

use fluss_proto::message::{PbFetchLogRespForBucket, PbLeafPredicate, PbPredicate};

use super::ScannerOptions;
use super::testkit::{Bench, S1, batch, part, places};
use crate::error::Error;
use crate::filter::ServerFilter;

fn predicate() -> PbPredicate {
    let leaf = PbLeafPredicate { function: 6, field_id: 3, literals: Vec::new() };
    PbPredicate { r#type: 0, leaf: Some(leaf), compound: None }
}

fn options() -> ScannerOptions {
    let mut options = Bench::options();
    options.filter = Some(ServerFilter::new(predicate(), 2).expect("the id of a schema"));
    options
}

fn passed(end: i64, part: PbFetchLogRespForBucket) -> PbFetchLogRespForBucket {
    PbFetchLogRespForBucket { filtered_end_offset: Some(end), ..part }
}

#[test]
fn every_fetch_tells_the_filter_and_its_schema_or_neither() {
    let mut b = Bench::new(&[(0, S1), (1, S1)]);
    let mut projected = options();
    (projected.projection, projected.projection_schema) = (Some([1, 3].into()), 2);
    for options in [options(), projected] {
        let key = b.open(options, &[(0, 0)]);
        for table in &b.fetch(S1).request.tables_req {
            assert_eq!(table.filter_predicate, Some(predicate()));
            assert_eq!(table.filter_schema_id, Some(2));
        }
        b.run(|scanners, _| scanners.close_scanner(key));
    }
    b.open(Bench::options(), &[(0, 0)]);
    for table in &b.fetch(S1).request.tables_req {
        assert_eq!((&table.filter_predicate, table.filter_schema_id), (&None, None));
    }
    let error = ServerFilter::new(predicate(), -1).expect_err("no schema");
    assert!(matches!(error, Error::Misuse(_)) && error.to_string().contains("-1"), "{error}");
}

#[test]
fn gaps_between_batches_and_behind_them_are_passed_over() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(options(), &[(0, 0)]);
    let sent = b.fetch(S1);
    let records = [batch(3, 2, 0, 10), batch(9, 1, 0, 10)].concat();
    b.reply(&sent, vec![passed(15, part(0, 20, &records))]);
    let taken = b.take(key);
    assert_eq!(places(&taken), [(0, 3), (0, 9)]);
    let next: Vec<i64> = taken.batches.iter().map(|batch| batch.next_offset).collect();
    assert_eq!((next, b.position(key, 0)), (vec![5, 15], 15));
    let sent = b.fetch(S1);
    assert_eq!(sent.asked(), [(0, 15)]);
    // Nothing but an end, and one that is behind.
    b.reply(&sent, vec![passed(18, part(0, 20, &[]))]);
    assert_eq!((b.ready, b.position(key, 0)), (2, 18));
    b.take(key);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![passed(1, part(0, 20, &batch(18, 2, 0, 10)))]);
    assert_eq!(places(&b.take(key)), [(0, 18)]);
    assert_eq!(b.position(key, 0), 20);
}

#[test]
fn what_is_not_replicated_yet_is_left_for_later_and_what_is_before_it_is_passed_over() {
    for end in [None, Some(5), Some(30)] {
        let mut b = Bench::new(&[(0, S1)]);
        let key = b.open(options(), &[(0, 0)]);
        let sent = b.fetch(S1);
        let records = [batch(2, 1, 0, 10), batch(12, 2, 0, 10), batch(14, 2, 0, 10)].concat();
        let answer = PbFetchLogRespForBucket { filtered_end_offset: end, ..part(0, 12, &records) };
        b.reply(&sent, vec![answer]);
        assert_eq!(places(&b.take(key)), [(0, 2)], "{end:?}");
        assert_eq!(b.position(key, 0), 12, "{end:?}");
        // Once it is replicated it comes.
        let sent = b.fetch(S1);
        assert_eq!(sent.asked(), [(0, 12)]);
        b.reply(&sent, vec![part(0, 16, &records)]);
        assert_eq!(places(&b.take(key)), [(0, 12), (0, 14)], "{end:?}");
    }
    // Nothing else came: that is no fruitless answer.
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(options(), &[(0, 0)]);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![part(0, 12, &batch(12, 2, 0, 10))]);
    assert!(b.take(key).is_empty());
    assert_eq!((b.ready, b.position(key, 0)), (1, 12));
}
