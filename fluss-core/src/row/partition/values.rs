//! Values read back from the names of partitions.

use super::super::datum::{OwnedDatum, Timestamp};
use super::super::text;
use super::super::types::{DataType, TypeKind};
use super::push_value;

/// The values of partition columns of these types in the name of a partition; null where the name
/// has none that would be written like that.
pub(crate) fn values_of(name: &str, types: &[DataType]) -> Vec<OwnedDatum> {
    let mut parts = name.split('$');
    let value = |data_type| parts.next().and_then(|text| read(text, data_type));
    types.iter().map(value).map(|value| value.unwrap_or(OwnedDatum::Null)).collect()
}

fn read(written: &str, data_type: &DataType) -> Option<OwnedDatum> {
    use TypeKind as K;
    let value = match data_type.kind {
        K::String | K::Char(_) => OwnedDatum::Str(written.to_owned()),
        K::Boolean => OwnedDatum::Bool(written.parse().ok()?),
        K::Bytes | K::Binary(_) => OwnedDatum::Bytes(bytes(written)?),
        K::TinyInt => OwnedDatum::Int8(written.parse().ok()?),
        K::SmallInt => OwnedDatum::Int16(written.parse().ok()?),
        K::Int => OwnedDatum::Int32(written.parse().ok()?),
        K::BigInt => OwnedDatum::Int64(written.parse().ok()?),
        // Not compared below: other clients write other digits of the same number.
        K::Float => return Some(OwnedDatum::Float32(written.replace('_', ".").parse().ok()?)),
        K::Double => return Some(OwnedDatum::Float64(written.replace('_', ".").parse().ok()?)),
        K::Date => OwnedDatum::Date(text::parse_date(written).ok()?),
        K::Time(_) => OwnedDatum::Time(clock(written)?),
        K::Timestamp(_) => OwnedDatum::Timestamp(moment(written)?),
        K::TimestampLtz(_) => OwnedDatum::TimestampLtz(moment(written)?),
        _ => return None,
    };
    let mut again = String::new();
    let same = push_value(value.as_datum(), data_type, &mut again).is_ok() && again == written;
    same.then_some(value)
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| match *pair {
        // At most 255.
        [high, low] => Some((digit(high)? * 16 + digit(low)?) as u8),
        _ => None,
    };
    pairs.map(byte).collect()
}

/// `HH-mm-ss_SSS` as milliseconds of the day.
fn clock(written: &str) -> Option<i32> {
    text::parse_time(&written.replace('-', ":").replace('_', ".")).ok()
}

/// `yyyy-MM-dd-HH-mm-ss_` and the digits of the fraction.
fn moment(written: &str) -> Option<Timestamp> {
    let (date, time) = (written.get(..10)?, written.get(11..)?);
    let time = time.replace('-', ":").replace('_', ".");
    text::parse_timestamp(&format!("{date}T{}", time.trim_end_matches('.'))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_type_come_back_from_the_names_they_are_written_as() {
        let at = |millis, nanos| Timestamp { millis, nanos };
        for (data_type, value) in [
            ("STRING", OwnedDatum::Str("eu_1-x".to_owned())),
            ("CHAR(4)", OwnedDatum::Str("ab".to_owned())),
            ("BOOLEAN", OwnedDatum::Bool(true)),
            ("BYTES", OwnedDatum::Bytes(vec![0, 255, 16])),
            ("BINARY(2)", OwnedDatum::Bytes(vec![1, 2])),
            ("TINYINT", OwnedDatum::Int8(-128)),
            ("SMALLINT", OwnedDatum::Int16(-3)),
            ("INT", OwnedDatum::Int32(i32::MIN)),
            ("BIGINT", OwnedDatum::Int64(i64::MAX)),
            ("FLOAT", OwnedDatum::Float32(-1.5e-7)),
            ("FLOAT", OwnedDatum::Float32(f32::INFINITY)),
            ("DOUBLE", OwnedDatum::Float64(1e21)),
            ("DOUBLE", OwnedDatum::Float64(f64::NEG_INFINITY)),
            ("DATE", OwnedDatum::Date(20_235)),
            ("TIME", OwnedDatum::Time(5_402_199)),
            ("TIME", OwnedDatum::Time(0)),
            ("TIMESTAMP(3)", OwnedDatum::Timestamp(at(1_748_662_955_000, 0))),
            ("TIMESTAMP(9)", OwnedDatum::Timestamp(at(-1_748_662_955_428, 99_988))),
            ("TIMESTAMP_LTZ(9)", OwnedDatum::TimestampLtz(at(1_748_662_955_420, 100))),
        ] {
            let types: [DataType; 2] = [DataType::INT, data_type.parse().expect("a type")];
            let mut name = "7$".to_owned();
            push_value(value.as_datum(), &types[1], &mut name).expect("a value that names");
            assert_eq!(values_of(&name, &types), [OwnedDatum::Int32(7), value], "{name}");
        }
    }

    #[test]
    fn what_nobody_writes_like_that_is_null() {
        for (data_type, text) in [
            ("INT", "+7"),
            ("INT", "x"),
            ("BOOLEAN", "TRUE"),
            ("BYTES", "AB"),
            ("BYTES", "abc"),
            ("DATE", "2025-02-30"),
            ("TIMESTAMP", "2025"),
            ("TIME", "24-00-00_000"),
            ("DOUBLE", "one"),
        ] {
            let data_type = data_type.parse().expect("a type");
            assert_eq!(values_of(text, &[data_type]), [OwnedDatum::Null], "{text}");
        }
        assert_eq!(
            values_of("", &[DataType::DATE, DataType::INT]),
            [const { OwnedDatum::Null }; 2]
        );
        let nan = values_of("NaN", &[DataType::FLOAT]);
        assert!(matches!(nan[..], [OwnedDatum::Float32(value)] if value.is_nan()));
    }
}
