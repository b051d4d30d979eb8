//! Rows of 200 columns, of 10 levels, with texts of 1 MiB: what they allocate grows with their
//! bytes. `scale-cost` does the same for instructions.

use allocation_counter::{AllocationInfo, measure};
use fluss_benches::scale::{Large, Load, Way};

const ROWS: usize = 8;
/// How much faster than the bytes anything may grow: what grows with their square would be at 5 to
/// 16 here.
const LIMIT: f64 = 1.5;

/// What a trip costs, with the bytes that travelled.
fn cost(load: &Load, way: Way) -> (f64, AllocationInfo) {
    // What is made once for all, such as tables of a codec, is made before.
    let bytes = load.measured_trip(way);
    let info = measure(|| {
        let again = load.measured_trip(way);
        assert_eq!(again, bytes, "the same rows");
    });
    (bytes as f64, info)
}

#[test]
fn memory_grows_no_faster_than_the_bytes_of_rows_large_in_any_way() {
    for (large, small, big) in Large::ALL {
        let loads = [small, big].map(|size| Load::new(large, size, ROWS));
        for way in Way::ALL {
            let [(few, before), (many, after)] = loads.each_ref().map(|load| cost(load, way));
            let grown = many / few;
            let size = big as f64 / small as f64;
            assert!(grown > size / 2.0, "{large:?}, {way:?}: the bytes grew {grown:.1} times only");
            for (what, before, after) in [
                ("allocations", before.count_total, after.count_total),
                ("bytes allocated", before.bytes_total, after.bytes_total),
                ("bytes at once", before.bytes_max, after.bytes_max),
            ] {
                let times = after as f64 / before.max(1) as f64;
                println!("{large:?} {way:?} {what}: {before} to {after}, {times:.2} of {grown:.2}");
                assert!(
                    times <= size.max(grown) * LIMIT,
                    "{large:?}, {way:?}: {what} grew {times:.1} times, the bytes {grown:.1} times"
                );
            }
            // What is held at once is a small multiple of what travels.
            let share = after.bytes_max as f64 / many;
            assert!(share < 40.0, "{large:?}, {way:?}: {share:.1} times the bytes are held");
        }
    }
}
